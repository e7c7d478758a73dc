"""Small ablations, for the tests of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cache import FeatureStore
from pipeline.ablate import Ablation, ablate
from pipeline.choices.grid import plan
from pipeline.choices.settings import Settings

NOISE = "0,symmetric:0.5"


def run(
    store: FeatureStore,
    folder: Path,
    *,
    seeds: int = 2,
    more: dict[str, Any] | None = None,
    **lists: Any,
) -> Ablation:
    common = lists.pop("common", Settings(dim=8, epochs=2))
    cells = plan(common, **{"loss": "contrastive", **lists})
    return ablate(store, cells, folder, seeds=seeds, device="cpu", command="x", **more or {})


def assert_same_figures(ours: Ablation, expected: Ablation) -> None:
    for row, other in zip(ours.rows, expected.rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
