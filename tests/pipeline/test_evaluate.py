"""Evaluation of a run: the right rows, the right labels, the right store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from cache import FeatureStore
from cache.errors import InputError
from pipeline.choices.settings import Settings
from pipeline.evaluate import UNTRAINED, embed, evaluate_run
from pipeline.runs.record import Run
from pipeline.train import train

TRAIN = 192


def trained(store: FeatureStore, path: Path, **changes: Any) -> Run:
    settings = Settings(**{"loss": "contrastive", "dim": 16, "epochs": 3} | changes)
    return train(store, settings, path, device="cpu")


def slow_recall_at_1(embeddings: torch.Tensor, labels: list[str], first_test: int) -> float:
    """The share of test rows whose nearest training row, by cosine, has their label."""
    rows = functional.normalize(embeddings.double(), dim=1)
    nearest = [int((rows[:first_test] @ row).argmax()) for row in rows[first_test:]]
    right = [labels[at] == name for at, name in zip(nearest, labels[first_test:], strict=True)]
    return float(np.mean(right))


def test_both_rows_agree_with_a_search_by_hand(store: FeatureStore, tmp_path: Path) -> None:
    run = trained(store, tmp_path / "run")
    found = evaluate_run(run, store, recall_at=(1, 5), device="cpu")
    features = store.read()
    values, labels = torch.from_numpy(features.values), features.rows["label"].to_pylist()
    assert list(found.rows) == [UNTRAINED, "run"]
    for name, embeddings in ((UNTRAINED, values), ("run", embed(run, values))):
        expected = slow_recall_at_1(embeddings, labels, TRAIN)
        assert found.rows[name].recall[1] == pytest.approx(expected, abs=1e-9)
        assert list(found.rows[name].recall) == [1, 5]


def test_embeddings_have_unit_norm_and_the_asked_dimension(
    store: FeatureStore, tmp_path: Path
) -> None:
    embeddings = embed(trained(store, tmp_path / "run"), torch.from_numpy(store.read().values))
    assert embeddings.shape == (288, 16)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(288))


def test_injected_noise_does_not_reach_the_gallery_s_labels(
    store: FeatureStore, tmp_path: Path
) -> None:
    """The untrained row is the same whatever labels were trained on."""
    rows = [
        evaluate_run(trained(store, tmp_path / str(noise), noise=noise), store, device="cpu").rows
        for noise in (None, "symmetric:0.9")
    ]
    assert rows[0][UNTRAINED] == rows[1][UNTRAINED]


def test_queries_and_gallery_are_judged_by_true_labels(tmp_path: Path, make_store: Any) -> None:
    true = [str(row % 12) for row in range(288)]
    given = ["0" if row % 3 else name for row, name in enumerate(true)]
    wrong = make_store(tmp_path / "wrong.zarr", given, true_labels=true, drawn_for=true)
    right = make_store(tmp_path / "right.zarr", true)
    rows = [
        evaluate_run(trained(store, tmp_path / name), store, device="cpu").rows
        for name, store in (("a", wrong), ("b", right))
    ]
    assert rows[0][UNTRAINED] == rows[1][UNTRAINED]


def test_a_run_of_none_has_only_the_untrained_row(store: FeatureStore, tmp_path: Path) -> None:
    run = trained(store, tmp_path / "run", loss="none")
    assert list(evaluate_run(run, store, device="cpu").rows) == [UNTRAINED]


def test_the_run_s_own_protocol_is_evaluated(store: FeatureStore, tmp_path: Path) -> None:
    run = trained(store, tmp_path / "run", protocol="class-disjoint")
    found = evaluate_run(run, store, device="cpu")
    assert found.protocol == "class-disjoint"
    assert found.rows["run"].num_queries == 144
    assert found.split.own_rows is not None


def test_a_run_without_splits_is_evaluated_on_the_other_half_of_the_classes(
    tmp_path: Path, make_store: Any
) -> None:
    store = make_store(tmp_path / "s.zarr", splits=None)
    found = evaluate_run(trained(store, tmp_path / "run"), store, device="cpu")
    names = np.array(store.rows["label"].to_pylist())[found.split.query]
    assert sorted(set(names), key=int) == [str(number) for number in range(6, 12)]


def test_a_store_with_another_fingerprint_is_refused(
    store: FeatureStore, tmp_path: Path, make_store: Any
) -> None:
    run = trained(store, tmp_path / "run")
    other = make_store(tmp_path / "other.zarr", backbone="timm:other")
    with pytest.raises(InputError, match="was trained on a store with fingerprint .* --store"):
        evaluate_run(run, other)


def test_the_same_store_at_another_place_is_taken(
    store: FeatureStore, tmp_path: Path, make_store: Any
) -> None:
    run = trained(store, tmp_path / "run")
    copy = make_store(tmp_path / "copy.zarr")
    assert evaluate_run(run, copy, device="cpu").rows == evaluate_run(run, store).rows


def test_each_class_has_its_own_metrics_and_the_worst_comes_first(
    store: FeatureStore, tmp_path: Path
) -> None:
    run = trained(store, tmp_path / "run")
    found = evaluate_run(run, store, by="class", map_at=(3,), device="cpu")
    assert sorted((group.name for group in found.groups), key=int) == [str(c) for c in range(12)]
    scores = [group.rows["run"].map_at_r for group in found.groups]
    assert scores == sorted(scores)
    for row in (UNTRAINED, "run"):
        queries = [group.rows[row].num_queries for group in found.groups]
        assert queries == [8] * 12
        mean = np.mean([group.rows[row].map_at[3] for group in found.groups])
        assert mean == pytest.approx(found.rows[row].map_at[3], abs=1e-12)


def test_a_class_without_a_match_comes_last(tmp_path: Path, make_store: Any) -> None:
    labels = [str(row % 12) for row in range(280)] + ["strange"] * 8
    store = make_store(tmp_path / "s.zarr", labels)
    found = evaluate_run(trained(store, tmp_path / "run"), store, by="class", device="cpu")
    last = found.groups[-1]
    assert (last.name, last.rows["run"].num_queries, last.rows["run"].lone_queries) == (
        "strange",
        0,
        8,
    )


def test_superlabels_group_the_queries(tmp_path: Path, make_store: Any) -> None:
    kinds = ["even" if row % 2 == 0 else "odd" for row in range(288)]
    store = make_store(tmp_path / "s.zarr", superlabels=kinds)
    found = evaluate_run(trained(store, tmp_path / "run"), store, by="superlabel", device="cpu")
    by_class = evaluate_run(trained(store, tmp_path / "two"), store, by="class", device="cpu")
    assert sorted(group.name for group in found.groups) == ["even", "odd"]
    for group in found.groups:
        own = [
            each.rows[UNTRAINED].map_at_r
            for each in by_class.groups
            if int(each.name) % 2 == (group.name == "odd")
        ]
        assert group.rows[UNTRAINED].num_queries == 48
        assert group.rows[UNTRAINED].map_at_r == pytest.approx(np.mean(own), abs=1e-12)


def test_superlabels_that_the_store_lacks_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    run = trained(store, tmp_path / "run")
    with pytest.raises(InputError, match="has no superlabels: add a column superlabel"):
        evaluate_run(run, store, by="superlabel")


def test_clustering_has_as_many_clusters_as_test_classes(
    store: FeatureStore, tmp_path: Path
) -> None:
    run = trained(store, tmp_path / "run", protocol="class-disjoint")
    found = evaluate_run(run, store, clustering=True, device="cpu").clusterings
    assert list(found) == [UNTRAINED, "run"]
    assert found["run"].num_clusters == 6
    assert 0 < found["run"].ami < found["run"].nmi <= 1
    assert evaluate_run(run, store, device="cpu").clusterings == {}
    assert evaluate_run(run, store, clustering=True, device="cpu").clusterings == found
