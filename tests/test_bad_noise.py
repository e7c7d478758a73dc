"""Bad noise, overlays and lists: one clear line, exit code 2, and nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOISE = {
    "make symetric:0.5": "unknown noise 'symetric': did you mean 'symmetric'?",
    "make symmetric:1.5": "rate of symmetric is 1.5: expected a number at least 0, at most 1",
    "make symmetric:0.5 --seed -1": "--seed",
    "make small-cluster:0.99": "leaves 0 of 12 classes, expected at least 2: lower the rate",
    "make superclass:0.5": "needs superlabels and the store has none: add a superlabel column",
    "make confusion": "noise 'confusion' has no path: expected for example confusion:FILE",
    "make confusion:nowhere.csv": "there is no transition matrix nowhere.csv: expected a .npy",
    "make confusion:two.csv": "two.csv holds numbers of the shape 2 x 2: expected 12 x 12",
    "make confusion:wide.csv": "row 1 of wide.csv sums to 12: expected 1",
    "make file:nowhere.csv": "there is no label list nowhere.csv",
    "make symmetric:0.5 --out two.csv": "two.csv exists: choose another file or remove it",
    "make symmetric:0.5 --out two.csv/o": "cannot write two.csv/o: ",
    "make symmetric:0.5 --store nowhere": "run `dml extract` first, or name another one",
    "describe nowhere.parquet": "there is no label overlay at nowhere.parquet: make one with",
    "describe two.csv": "two.csv is no label overlay: make one with",
    "export two.csv --to new.csv": "two.csv is no label overlay: make one with",
    "import two.csv": "192 of 192 training rows are not in two.csv, for example '0000.jpg'",
    "import two.csv --key a": "two.csv has no keys: leave key=a out",
    "import two.csv --numbering ten": "'ten' is not one of 'auto', 'names', 'overlap'",
    "estimate --store nowhere": "there is no feature store at",
    "mak": "Did you mean 'make'?",
}


@pytest.mark.parametrize("words", NOISE)
def test_noise_refuses(words: str, home: Path, dml: Any) -> None:
    (home / "two.csv").write_text("1,0\n0,1\n")
    (home / "wide.csv").write_text(("1," * 11 + "1\n") * 12)
    before = sorted(home.rglob("*"))
    assert NOISE[words] in dml(f"noise {words}").refusal()
    assert sorted(home.rglob("*")) == before


def test_an_overlay_of_another_manifest_is_refused_with_both_digests(
    home: Path, dml: Any, make_store: Any
) -> None:
    other = make_store(home / "other.zarr", ["a", "b"] * 20, ["train"] * 20 + ["test"] * 20)
    assert dml("noise make symmetric:0.5 --out mine.parquet").code == 0
    line = dml("train --store other.zarr --noise file:mine.parquet").refusal()
    assert "the label overlay mine.parquet is of another manifest: it is of" in line
    assert f"the store of {other.fingerprint.rows_digest[:12]}" in line
