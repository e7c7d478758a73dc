"""Ablations: every run measured once, resumed after interruptions, refused before training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cache import FeatureStore
from cache.errors import InputError
from pipeline.choices.settings import Settings
from pipeline.evaluate import evaluate_run
from pipeline.runs.results import read_results
from pipeline.train import train

from .ablations import NOISE, run


def without_seconds(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if name != "seconds"} for row in rows]


def interrupt_at(epoch: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    return progress


# Figures


def test_a_row_holds_what_train_and_eval_find(store: FeatureStore, tmp_path: Path):
    common = Settings(loss="prism", dim=8, epochs=2, validation="rows")
    found = run(
        store,
        tmp_path / "out",
        seeds=1,
        common=common,
        loss="prism",
        noise="symmetric:0.5",
        more={"recall_at": (1, 4)},
    )
    untrained, row = found.rows
    alone = train(store, common.replaced(noise="symmetric:0.5"), tmp_path / "run", device="cpu")
    measured = evaluate_run(alone, store, recall_at=(1, 4), device="cpu").rows
    for name, share in measured["run"].shares().items():
        assert row[name] == pytest.approx(share, abs=1e-6), name
    for name, share in measured["untrained"].shares().items():
        assert untrained[name] == share
    selection, validation = alone.record["selection"], alone.record["validation"]
    assert row["nominal_noise_rate"] == 0.5
    assert row["realised_noise_rate"] == alone.record["noise"]["realised_rate"]
    assert row["dropped"] == selection["dropped"]
    assert row["detection_auc"] == pytest.approx(selection["detection"]["auc"])
    assert row["selected_epoch"] == validation["selected_epoch"]
    assert row["validation_map@r"] == pytest.approx(validation["selected_map@r"])
    assert Settings(**json.loads(row["settings"])) == common.replaced(noise="symmetric:0.5")


def test_there_is_a_row_for_every_run_and_one_for_the_untrained_features(
    store: FeatureStore, tmp_path: Path
):
    found = run(store, tmp_path, loss="contrastive,none+prism", noise=NOISE)
    keys = [(row["method"], row["noise"], row["seed"]) for row in found.rows]
    assert keys == [
        ("untrained", None, None),
        *(
            (method, noise, seed)
            for method in ("contrastive", "none+prism")
            for noise in NOISE.split(",")
            for seed in (0, 1)
        ),
    ]
    assert read_results(tmp_path) == found.rows
    frozen = [row for row in found.rows if row["method"] == "none+prism"]
    assert {row["recall@1"] for row in frozen} == {found.rows[0]["recall@1"]}
    assert {row["epochs"] for row in frozen} == {0}
    assert frozen[-1]["detection_auc"] > 0.5
    assert frozen[-1]["kept_purity"] > 0.5
    assert (found.trained, found.reused) == (8, 0)


def test_csv_and_parquet_hold_the_same(store: FeatureStore, tmp_path: Path):
    run(store, tmp_path, noise=NOISE)
    table = pq.read_table(tmp_path / "results.parquet")
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        plain = list(csv.DictReader(file))
    assert list(plain[0]) == table.column_names
    for row, texts in zip(table.to_pylist(), plain, strict=True):
        assert float(texts["recall@1"]) == row["recall@1"]
        assert texts["method"] == row["method"]


def test_every_protocol_has_its_untrained_row(store: FeatureStore, tmp_path: Path):
    found = run(store, tmp_path, seeds=1, protocol="query-gallery,class-disjoint")
    keys = [(row["protocol"], row["method"]) for row in found.rows]
    assert keys == [
        ("query-gallery", "untrained"),
        ("class-disjoint", "untrained"),
        ("query-gallery", "contrastive"),
        ("class-disjoint", "contrastive"),
    ]


# Going on


@pytest.mark.parametrize("snapshot_seconds", [1e9, 0.0])
def test_an_interrupted_ablation_ends_with_the_same_results(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]], snapshot_seconds: float
):
    lists = {"loss": "contrastive,prism", "noise": NOISE, "changes": ["lr=0.001,0.01"]}
    run(store, tmp_path / "whole", **lists)
    counted.clear()
    # Each method has 8 runs of 2 epochs; the second method's first epoch ends at 24.
    more = {"progress": interrupt_at(24), "snapshot_seconds": snapshot_seconds}
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "parts", more=more, **lists)
    assert len(counted) == 2
    assert not (tmp_path / "parts" / "results.csv").exists()
    found = run(store, tmp_path / "parts", **lists)
    assert len(counted) == 2 + 1
    assert (found.trained, found.reused) == (8, 8)
    assert without_seconds(tmp_path / "parts") == without_seconds(tmp_path / "whole")
    assert not list((tmp_path / "parts" / "cells").glob(".*"))


def test_a_finished_cell_is_never_trained_again(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
):
    first = run(store, tmp_path)
    contents = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    again = run(store, tmp_path)
    assert counted == [[0, 1]]
    assert again.rows == first.rows
    assert (again.trained, again.reused) == (0, 2)
    assert {path: path.read_bytes() for path in contents} == contents


def test_more_seeds_and_losses_train_only_what_is_new(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
):
    first = run(store, tmp_path)
    found = run(store, tmp_path, seeds=3, loss="prism,contrastive")
    assert counted == [[0, 1], [0, 1, 2], [2]]
    assert found.rows[4:6] == first.rows[1:]
    fewer = run(store, tmp_path, seeds=1)
    assert len(counted) == 3
    assert fewer.rows[1] == first.rows[1]
    assert len(fewer.rows) == 2


def test_other_settings_are_other_cells(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
):
    run(store, tmp_path, seeds=1)
    run(store, tmp_path, seeds=1, common=Settings(dim=8, epochs=3))
    run(store, tmp_path, seeds=1, more={"recall_at": (1, 2)})
    assert len(counted) == 3


def test_another_content_of_a_noise_file_is_another_cell(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
):
    given = store.rows["label"].to_pylist()[:192]
    for label in ("3", "4", "3"):
        lines = [f"{row:04}.jpg,{name}" for row, name in enumerate([label, *given[1:]])]
        (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
        found = run(store, tmp_path / "out", seeds=1, noise=f"file:{tmp_path / 'list.csv'}")
        assert found.rows[1]["realised_noise_rate"] == pytest.approx(1 / 192)
    assert len(counted) == 2


def test_progress_counts_the_epochs_of_all_cells(store: FeatureStore, tmp_path: Path):
    told: list[tuple[int, int]] = []
    more = {"progress": lambda done, total: told.append((done, total))}
    run(store, tmp_path, noise=NOISE, more=more)  # 4 runs of 2 epochs
    assert [done for done, _ in told] == [0, 4, 8]
    assert {total for _, total in told} == {8}


# Refusing


def test_a_folder_of_another_store_or_of_other_labels_is_refused(
    store: FeatureStore, tmp_path: Path, make_store: Any
):
    run(store, tmp_path / "out", seeds=1)
    other = make_store(tmp_path / "other.zarr", backbone="timm:other")
    with pytest.raises(InputError, match=r"a store with fingerprint .*choose another --out"):
        run(other, tmp_path / "out", seeds=1)
    names = tuple(str(row % 12) for row in range(288))
    changed = make_store(tmp_path / "more.zarr", labels=("1", *names[1:]), drawn_for=names)
    with pytest.raises(InputError, match="a store with rows"):
        run(changed, tmp_path / "out", seeds=1)


def test_a_damaged_cell_is_named(store: FeatureStore, tmp_path: Path):
    run(store, tmp_path, seeds=1)
    for path in (tmp_path / "cells").iterdir():
        path.write_text("{")
    with pytest.raises(InputError, match=r"\.json is damaged .*remove it"):
        run(store, tmp_path, seeds=1)
