"""A store with several kinds of features is trained on, measured and compared by any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FeatureStore, InputError, StoreWriter
from pipeline.ablate import ablate
from pipeline.choices.grid import plan
from pipeline.choices.settings import Settings
from pipeline.evaluate import evaluate_run
from pipeline.train import train

SETTINGS = Settings(loss="proxy-anchor", epochs=2, dim=8)


@pytest.fixture
def both(store: FeatureStore, tmp_path: Path) -> FeatureStore:
    """Noise under the name avg, and the features of `store` under the name max."""
    useful = store.read().values
    noise = np.random.default_rng(3).standard_normal(useful.shape).astype("float32")
    values = np.stack([noise, useful], axis=1)
    facts = replace(store.fingerprint, pool="avg,max")
    with StoreWriter.create_or_resume(
        tmp_path / "both.zarr", fingerprint=facts, rows=store.rows, root="photos", chunk_rows=100
    ) as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            writer.write(number, values[rows.start : rows.stop], {})
    return FeatureStore.open(tmp_path / "both.zarr")


def test_a_run_on_chosen_features_is_that_of_a_store_with_nothing_else(
    store: FeatureStore, both: FeatureStore, tmp_path: Path
) -> None:
    alone = train(store, SETTINGS, tmp_path / "alone")
    chosen = train(both, SETTINGS.replaced(features="max"), tmp_path / "chosen")
    other = train(both, SETTINGS, tmp_path / "other")
    found = [
        {name: rows.shares() for name, rows in evaluate_run(run, source).rows.items()}
        for run, source in [(alone, store), (chosen, both), (other, both)]
    ]
    assert found[0]["untrained"] == found[1]["untrained"] != found[2]["untrained"]
    assert found[0]["alone"] == found[1]["chosen"]
    assert found[1]["chosen"]["recall@1"] > 2 * found[2]["other"]["recall@1"]


def test_an_ablation_reads_the_chosen_features(both: FeatureStore, tmp_path: Path) -> None:
    def compare(features: str | None, folder: str) -> list[dict[str, Any]]:
        common = SETTINGS.replaced(features=features)
        cells = plan(common, loss="proxy-anchor", select=None, noise="0", protocol=None, changes=[])
        rows = ablate(both, cells, tmp_path / folder, seeds=1).rows
        return [row["recall@1"] for row in rows]

    first, chosen = compare(None, "first"), compare("max", "chosen")
    assert min(chosen) > max(first)
    with pytest.raises(InputError, match="features the first, this one has max: choose another"):
        compare("max", "first")


def test_one_ablation_compares_on_one_kind_of_features(both: FeatureStore, tmp_path: Path) -> None:
    cells = plan(
        SETTINGS,
        loss="proxy-anchor",
        select=None,
        noise="0",
        protocol=None,
        changes=["features=avg,max"],
    )
    with pytest.raises(InputError, match="one kind of features: run it once for each"):
        ablate(both, cells, tmp_path / "out", seeds=1)


@pytest.mark.parametrize("command", ["train", "ablate"])
def test_unknown_features_are_refused_in_one_line(
    both: FeatureStore, dml: Callable[..., Any], command: str
) -> None:
    refusal = dml(f"{command} --store {both.path} --features min").refusal()
    assert "has no features 'min': choose from avg, max" in refusal
