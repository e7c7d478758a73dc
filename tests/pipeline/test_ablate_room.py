"""Ablations train the runs of a method together, as far as there is room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from cache.errors import InputError
from pipeline.ablation.trial import measure_trained

from .ablations import NOISE, assert_same_figures, run


def test_noises_rates_and_fractional_options_train_together_and_other_options_apart(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
):
    changes = ["lr=0.001,0.01", "loss.divisor=kept,batch"]
    run(store, tmp_path, loss="memory-contrastive", noise=NOISE, changes=changes)
    assert [len(runs) for runs in counted] == [8, 8]


def test_a_small_memory_divides_the_runs_and_changes_no_figure(
    store: FeatureStore, tmp_path: Path, counted: list[list[int]]
):
    whole = run(store, tmp_path / "whole", seeds=3)
    head = 4 * 8 * (store.fingerprint.num_features + 1)
    one = 4 * head + 16 * 192 + 8  # with gradient and two moments, a selection, two counters
    parts = run(store, tmp_path / "parts", seeds=3, more={"memory": 2 * one})
    assert [len(runs) for runs in counted] == [3, 2, 1]
    assert_same_figures(parts, whole)
    with pytest.raises(InputError, match=r"one run of contrastive takes .*--memory leaves"):
        run(store, tmp_path / "none", more={"memory": 100})


def test_runs_that_do_not_fit_after_all_are_divided(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = run(store, tmp_path / "whole", seeds=3)
    sizes: list[int] = []

    def full(ground: Any, runs: Any, *others: Any) -> Any:
        sizes.append(len(runs))
        if len(runs) > 1:
            raise MemoryError
        return measure_trained(ground, runs, *others)

    monkeypatch.setattr("pipeline.ablate.measure_trained", full)
    parts = run(store, tmp_path / "parts", seeds=3)
    assert sizes == [3, 1, 2, 1, 1]
    assert_same_figures(parts, whole)

    def always_full(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("pipeline.ablate.measure_trained", always_full)
    (line,) = run(store, tmp_path / "none").failures
    assert "the memory does not hold one run" in line


def test_stacked_runs_give_what_runs_alone_give_and_the_results_say_so(
    store: FeatureStore, tmp_path: Path
):
    changes = ["loss.margin=0.1,0.3", "lr=0.001,0.01"]
    alone, together = (
        run(store, tmp_path / way, loss="proxy-anchor", changes=changes, more={"way": way})
        for way in ("alone", "together")
    )
    for row, other in zip(together.rows[1:], alone.rows[1:], strict=True):
        assert (row["way"], other["way"]) == ("together", "alone")
        assert row["map@r"] == pytest.approx(other["map@r"], abs=1e-3)


def test_a_run_that_diverges_leaves_the_others_alone(store: FeatureStore, tmp_path: Path):
    changes = ["lr=0.001,1e38"]
    found = run(store, tmp_path, changes=changes)
    assert (found.trained, found.reused) == (2, 0)
    (line,) = found.failures
    assert "lr=1e38" in line
    assert "diverged" in line
    assert [row["failure"] is None for row in found.rows[1:]] == [True, True, False, False]
    again = run(store, tmp_path, changes=changes)
    assert (again.trained, again.reused, len(again.failures)) == (0, 2, 1)
