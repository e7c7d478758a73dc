"""Images are taken out of a store by their ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore


def test_rows_named_or_listed_in_a_file_are_removed(home: Path, dml: Callable[..., Any]) -> None:
    (home / "ids.txt").write_text("0002.jpg\n\n0003.jpg\n", encoding="utf-8")
    answer = dml("cache remove 0001.jpg 0002.jpg --from ids.txt")
    assert answer.code == 0, answer
    assert "3 rows were taken out, 285 are left" in answer.out
    ids = FeatureStore.open(home / "features.zarr").rows["id"].to_pylist()
    assert ids[:3] == ["0000.jpg", "0004.jpg", "0005.jpg"]
    assert dml("train --loss proxy-anchor --epochs 1").code == 0
    assert dml("cache remove 0000.jpg --json").json()["rows"] == 284


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no ids were given: name them, or a file of them with --from FILE"),
        ("zz.jpg", "has no row 'zz.jpg': nothing was removed"),
        ("--from none.txt", "cannot read the ids of none.txt: No such file"),
        ("0001.jpg --store none.zarr", "no feature store at"),
    ],
)
def test_what_cannot_be_removed_is_refused_in_one_line(
    home: Path, dml: Callable[..., Any], words: str, message: str
) -> None:
    assert message in dml(f"cache remove {words}").refusal()
    assert FeatureStore.open(home / "features.zarr").num_rows == 288
