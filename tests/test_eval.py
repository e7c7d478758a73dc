"""What `dml eval` prints beyond its table of the usual metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FAST = "--dim 16 --epochs 3"
PRISM = f"--loss prism {FAST}"


def test_help_says_what_recall_at_k_means_here(dml: Any) -> None:
    text = " ".join(dml("eval --help").out.split())
    assert "share of queries with at least one item of their class among the K nearest" in text
    assert "Any of the top K is enough: it is not the share of a class that was found" in text
    assert "No query finds itself" in text
    assert "MAP@K goes up to K and divides by the smaller of K and R." in text


def test_map_at_k_is_printed_on_demand(home: Path, dml: Any) -> None:
    dml(f"train {PRISM}")
    assert "map@5" not in dml("eval").out
    found = dml("eval --map-at 5,10 --json").json()
    assert list(found["trained"])[-3:] == ["map@r", "map@5", "map@10"]
    printed = dml("eval --map-at 5,10").out
    assert f"{found['trained']['map@10']:.1f}" in printed.splitlines()[-1]


def test_a_k_beyond_the_gallery_is_said_to_mean_all_of_it(home: Path, dml: Any) -> None:
    dml(f"train {PRISM}")
    answer = dml("eval --recall 1,192,193,5000 --map-at 999")
    assert "K = 193, 999, 5000 means all 192 rows that a query can find" in answer.err
    assert dml("eval --recall 5000 --json").json()["trained"]["recall@5000"] == 100
    assert "means all" not in dml("eval --recall 192").err
    dml(f"train {PRISM} --protocol class-disjoint")
    assert "K = 144 means all 143 rows" in dml("eval --recall 143,144").err


def test_clustering_adds_nmi_and_ami_and_says_how(home: Path, dml: Any) -> None:
    dml(f"train {PRISM}")
    found = dml("eval --clustering --json").json()
    for row in ("trained", "untrained"):
        assert list(found[row])[-2:] == ["nmi", "ami"]
        assert found[row]["ami"] < found[row]["nmi"] < 100
    answer = dml("eval --clustering")
    assert answer.out.splitlines()[0].split()[-2:] == ["nmi", "ami"]
    assert "k-means with 12 clusters, one for each class, seed 0" in answer.err


def test_by_class_prints_the_worst_first_below_their_mean(home: Path, dml: Any) -> None:
    dml(f"train {PRISM}")
    found = dml("eval --by class --json").json()
    assert (found["by"], len(found["groups"])) == ("class", 12)
    worst = found["groups"][0]
    assert (worst["queries"], worst["unmatched"]) == (8, 0)
    assert worst["trained"]["map@r"] <= found["groups"][1]["trained"]["map@r"]
    lines = dml("eval --by class").out.splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("class"))
    mean, first = lines[head + 1].split(), lines[head + 2].split()
    assert mean[:2] == ["(mean)", "96"]
    assert first[:2] == [worst["name"], "8"]
    assert first[-1] == f"{worst['untrained']['map@r']:.1f}"
    assert mean[-2] == f"{found['trained']['map@r']:.1f}"  # classes of one size


def test_twenty_classes_are_shown_and_json_has_all(home: Path, dml: Any, make_store: Any) -> None:
    labels = [str(row % 24) for row in range(286)]
    make_store(home / "many.zarr", [*labels, "one", "two"])
    dml(f"train --store many.zarr {PRISM}")
    answer = dml("eval --by class")
    assert answer.out.splitlines()[-1].endswith("the worst 20 of 26 classes, all of them: --json")
    groups = dml("eval --by class --json").json()["groups"]
    assert len(groups) == 26
    assert [group["trained"] for group in groups[-2:]] == [None, None]
    assert {group["name"] for group in groups[-2:]} == {"one", "two"}


@pytest.mark.parametrize("loss", ["none", "contrastive"])
def test_by_superlabel(home: Path, dml: Any, make_store: Any, loss: str) -> None:
    kinds = ["even" if row % 2 == 0 else "odd" for row in range(288)]
    make_store(home / "kinds.zarr", superlabels=kinds)
    fast = "" if loss == "none" else FAST  # which trains no epoch
    dml(f"train --store kinds.zarr --loss {loss} {fast}")
    groups = dml("eval --by superlabel --json").json()["groups"]
    assert sorted(group["name"] for group in groups) == ["even", "odd"]
    assert (groups[0]["trained"] is None) == (loss == "none")
    lines = dml("eval --by superlabel").out.splitlines()
    head = next(line for line in lines if line.startswith("superlabel"))
    assert head.endswith("before") == (loss != "none")
    assert ("before: map@r of the untrained features" in lines[-1]) == (loss != "none")
