"""A disk that fills up at any moment leaves a store that resumes."""

from __future__ import annotations

import errno
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import DiskFullError, DmlError, FeatureStore
from cache.places.durable import replace_file, writing_to


def fail_at(call: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `original`, which finds the disk full at its given call, counted from 0."""
    calls = itertools.count()

    def failing(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **options)

    return failing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_each_kind_of_full_disk_is_told(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskFullError, match=os.strerror(number).lower()), writing_to(tmp_path):
        raise OSError(number, "")


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output") as caught, writing_to(tmp_path):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, DmlError)


@pytest.mark.parametrize("function", ["fsync", "open", "replace", "rename", "mkdir"])
def test_a_full_disk_at_any_call_keeps_the_finished_chunks(
    example: Any, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    home, original = example.path.parent, getattr(os, function)
    for call in itertools.count():
        example.path = home / str(call) / "features.zarr"
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail_at(call, original))
            try:
                example.write()
            except DiskFullError as error:
                message = str(error)
            else:
                break
        assert "\n" not in message
        assert "finished chunks are kept: make room and run the same command again" in message
        finished = FeatureStore.open(example.path).finished_chunks if example.path.exists() else 0
        with example.writer() as writer:
            assert writer.pending == list(range(finished, 3))
        np.testing.assert_array_equal(example.write().read().values, example.values)
    assert call > 0


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_chunk_that_does_not_fit_stays_pending(example: Any) -> None:
    example.num_features = 4096
    example.write(chunks=[0])
    with example.writer() as writer:
        with no_file_beyond(4096), pytest.raises(DiskFullError, match="file too large"):
            writer.write(1, example.values[4:8], {})
        assert writer.pending == [1, 2]
        writer.write(1, example.values[4:8], {})
    np.testing.assert_array_equal(example.write().read().values, example.values)


def test_a_ledger_line_that_does_not_fit_is_not_counted_and_not_in_the_way(example: Any) -> None:
    with example.writer() as writer:
        writer.write(0, example.values[:4], {})
        with no_file_beyond(4096), pytest.raises(DiskFullError):
            writer.write(1, example.values[4:8], {4: "x" * 5000})
        assert FeatureStore.open(example.path).finished_chunks == 1
        writer.write(1, example.values[4:8], {})
    assert FeatureStore.open(example.path).finished_chunks == 2


def test_a_store_whose_table_does_not_fit_is_not_begun(example: Any) -> None:
    generator = np.random.default_rng(seed=0)
    example.columns["path"] = [generator.bytes(2000).hex() for _ in range(10)]
    with no_file_beyond(4096), pytest.raises(DiskFullError):
        example.writer()
    assert list(example.path.parent.iterdir()) == []


def test_a_file_that_cannot_be_replaced_keeps_its_content(example: Any) -> None:
    file = example.path
    replace_file(file, b"old")
    with no_file_beyond(2), pytest.raises(OSError, match="too large"):
        replace_file(file, b"newer")
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]
