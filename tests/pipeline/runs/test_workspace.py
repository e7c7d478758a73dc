"""The pointer to the latest store and run."""

from __future__ import annotations

import pytest

from cache.errors import InputError
from pipeline.runs.workspace import latest, point


def test_without_a_pointer_the_command_that_makes_one_is_named(tmp_path):
    with pytest.raises(InputError, match="run `dml extract` first"):
        latest("store", tmp_path)
    with pytest.raises(InputError, match="run `dml train` first"):
        latest("run", tmp_path / "nowhere")


def test_the_latest_is_the_one_pointed_at_last_whatever_its_time_stamp(tmp_path):
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    point("run", tmp_path / "runs" / "second", tmp_path)
    point("run", tmp_path / "runs" / "first", tmp_path)
    assert latest("run", tmp_path) == tmp_path / "runs" / "first"


def test_the_pointer_survives_a_move_of_the_whole_folder(tmp_path):
    (tmp_path / "here" / "runs" / "mine").mkdir(parents=True)
    point("run", tmp_path / "here" / "runs" / "mine", tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert latest("run", tmp_path / "there") == tmp_path / "there" / "runs" / "mine"


def test_something_outside_of_the_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "store.zarr").mkdir()
    monkeypatch.chdir(tmp_path)
    point("store", tmp_path / "store.zarr", tmp_path / "out")
    monkeypatch.chdir("/")
    assert latest("store", tmp_path / "out") == tmp_path / "store.zarr"


def test_what_was_removed_since_is_told(tmp_path):
    (tmp_path / "mine").mkdir()
    point("run", tmp_path / "mine", tmp_path)
    (tmp_path / "mine").rmdir()
    with pytest.raises(InputError, match="not at .* any more"):
        latest("run", tmp_path)


@pytest.mark.parametrize("content", ["{", "3"])
def test_a_damaged_pointer_is_one_clear_line(tmp_path, content):
    (tmp_path / "latest.json").write_text(content)
    with pytest.raises(InputError, match="remove it and name the paths"):
        latest("run", tmp_path)


def test_a_store_and_a_run_are_kept_side_by_side(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "run").mkdir()
    point("store", tmp_path / "store", tmp_path)
    point("run", tmp_path / "run", tmp_path)
    assert latest("store", tmp_path) == tmp_path / "store"
