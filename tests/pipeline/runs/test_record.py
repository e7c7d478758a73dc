"""A run on disk: whole or not there at all, and readable as it was written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from cache.errors import DiskFullError, InputError
from pipeline.choices.settings import Settings
from pipeline.runs import record
from pipeline.runs.record import Run, free_path, refuse_unusable, save_run

LABELS = pa.table({"id": ["a", "b"], "label": ["x", "y"]})


def save(path: Path, created: str = "2026-01-01T00:00:00+00:00", **facts: object) -> Run:
    weights = {"mean": torch.arange(3.0)}
    return save_run(path, Settings(seed=3), {"created": created, **facts}, weights, LABELS)


def test_a_run_comes_back_as_it_was_written(tmp_path):
    save(tmp_path / "runs" / "mine", loss=0.5)
    run = Run.open(tmp_path / "runs" / "mine")
    assert run.settings == Settings(seed=3)
    assert run.record["loss"] == 0.5
    assert torch.equal(run.weights()["mean"], torch.arange(3.0))
    assert run.labels().equals(LABELS)
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["mine"]


def test_an_existing_path_is_never_overwritten(tmp_path):
    save(tmp_path / "mine")
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "dangling"):
        with pytest.raises(InputError, match="exists: choose another --run or remove it"):
            save(tmp_path / name)


@pytest.mark.parametrize("where", ["file/run", "file/deep/run"])
def test_a_run_below_a_file_is_refused_before_any_work(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another --run"):
        refuse_unusable(tmp_path / where)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_any_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="choose another --run"):
        refuse_unusable(tmp_path / "run")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EROFS, InputError)]
)
@pytest.mark.parametrize("step", ["write_text", "write_bytes", "rename", "mkdir"])
def test_a_disk_that_fails_at_any_step_leaves_nothing(tmp_path, monkeypatch, step, number, kind):
    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, failing)
        with pytest.raises(kind, match=os.strerror(number).lower()) as refused:
            save(tmp_path / "mine")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record.pq, "write_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_json_does_not_know_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path / "mine", loss=float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_a_free_path_counts_up(tmp_path):
    assert free_path(tmp_path, "prism") == tmp_path / "prism"
    (tmp_path / "prism").mkdir()
    assert free_path(tmp_path, "prism") == tmp_path / "prism-2"
    (tmp_path / "prism-2").mkdir()
    assert free_path(tmp_path, "prism") == tmp_path / "prism-3"


@pytest.mark.parametrize("content", [b"", b"{", b"no weights at all"])
def test_damaged_weights_are_told_by_the_file_s_name(tmp_path, content):
    run = save(tmp_path / "mine")
    (tmp_path / "mine" / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"weights.safetensors is missing or damaged"):
        run.weights()


def test_a_damaged_record_is_told_by_the_file_s_name(tmp_path):
    save(tmp_path / "mine")
    (tmp_path / "mine" / "record.json").write_text("{")
    with pytest.raises(InputError, match=r"record.json is damaged .*: train again"):
        Run.open(tmp_path / "mine")
