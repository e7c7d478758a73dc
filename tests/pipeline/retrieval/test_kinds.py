"""The kinds of index: what they return, how their recall is measured, that builds are equal."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from cache.errors import InputError
from pipeline.retrieval import kinds
from pipeline.retrieval.building import measure, recall_of
from pipeline.retrieval.exact import ExactSearch, Nearest

APPROXIMATE = ("hnsw", "ivf")


def built(kind: kinds.Kind, rows: Any) -> Any:
    count, dim = rows.shape
    filling = kinds.Filling(kind, count, dim, rows[: kinds.rows_to_train(kind, count)])
    for start in range(0, count, 400):
        filling.add(rows[start : start + 400])
    return filling.finished()


def exact(queries: Any, rows: Any, k: int, own_rows: Any = None) -> Nearest:
    search = ExactSearch(queries, k, own_rows=own_rows)
    search.add(np.arange(len(rows)), rows)
    return search.result()


def test_the_kind_grows_with_the_rows() -> None:
    chosen = [kinds.kind_for(count) for count in (1, 100_000, 100_001, 300_000, 300_001)]
    assert chosen == ["flat", "flat", "hnsw", "hnsw", "ivf"]


def test_a_flat_index_is_exact_copies_included(unit: Any) -> None:
    rows, queries = unit(1000, copies=300), unit(40, seed=3)
    found = kinds.nearest(built("flat", rows), "flat", queries, 10, effort=0)
    truth = exact(queries, rows, 10)
    assert np.array_equal(found.rows, truth.rows)
    assert np.array_equal(found.cosines, truth.cosines)


def test_a_flat_index_is_one_that_faiss_searches_by_itself(unit: Any) -> None:
    rows = unit(500)
    index = built("flat", rows)
    assert (index.ntotal, index.d, index.metric_type) == (500, 16, faiss.METRIC_INNER_PRODUCT)
    assert np.array_equal(kinds.values_of(index), rows)
    assert index.search(rows[:20], 1)[1][:, 0].tolist() == list(range(20))


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_looking_at_everything_finds_what_exact_search_finds(unit: Any, kind: Any) -> None:
    rows, queries = unit(900), unit(30, seed=5)
    most = kinds.efforts(kind, 900)[-1]
    found = kinds.nearest(built(kind, rows), kind, queries, 10, effort=most)
    truth = exact(queries, rows, 10)
    assert np.array_equal(found.rows, truth.rows)
    assert found.cosines == pytest.approx(truth.cosines, abs=2e-6)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_equal_cosines_rank_by_row_in_every_kind(unit: Any, kind: Any) -> None:
    rows = unit(600)
    rows[[5, 300, 599]] = rows[100]
    most = kinds.efforts(kind, 600)[-1]
    found = kinds.nearest(built(kind, rows), kind, rows[100:101], 4, effort=most)
    assert found.rows[0].tolist() == [5, 100, 300, 599]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivf-pq"])
def test_the_measured_recall_is_the_one_counted_again(unit: Any, kind: Any) -> None:
    rows = unit(10_300, dim=8)
    index, own = built(kind, rows), np.arange(0, 10_300, 103)
    truth = exact(rows[own], rows, 10, own)
    measured = measure(index, kind, rows[own], own, truth)
    found = kinds.nearest(index, kind, rows[own], 11, effort=measured.effort)
    shares = []
    for at, row in enumerate(own.tolist()):
        others = [each for each in found.rows[at].tolist() if each != row][:10]
        shares.append(len(set(others) & set(truth.rows[at].tolist())) / 10)
    assert measured.recall == pytest.approx(np.mean(shares))
    assert measured.recall == 1 if kind == "flat" else measured.recall > 0.3
    if kind in APPROXIMATE:
        assert measured.recall >= 0.95


def test_recall_counts_only_neighbours_that_there_are() -> None:
    truth = Nearest(np.array([[1, 2], [3, -1], [-1, -1]]), np.zeros((3, 2)))
    found = Nearest(np.array([[2, 9], [3, 1], [4, -1]]), np.zeros((3, 2)))
    assert recall_of(found, truth) == pytest.approx(2 / 3)
    nobody = Nearest(np.full((2, 2), -1), np.zeros((2, 2)))
    assert recall_of(nobody, nobody) is None


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_two_builds_are_equal_byte_for_byte(unit: Any, kind: Any) -> None:
    rows = unit(1500, copies=50)
    with kinds.threads(2):
        first, second = (faiss.serialize_index(built(kind, rows)) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_codes_of_ivf_pq_divide_a_vector_of_any_length() -> None:
    found = [kinds.parameters_of("ivf-pq", 20_000, dim)["bytes"] for dim in (128, 6, 7, 1, 30)]
    assert found == [32, 1, 1, 1, 6]
    for dim, count in zip((128, 6, 7, 1, 30), found, strict=True):
        assert dim % count == 0


def test_too_few_rows_for_a_kind_are_refused() -> None:
    with pytest.raises(InputError, match="ivf-pq needs at least 10,240 rows and there are 500"):
        kinds.refuse_too_few("ivf-pq", 500)
    with pytest.raises(InputError, match="ivf needs at least 40 rows"):
        kinds.refuse_too_few("ivf", 39)
    kinds.refuse_too_few("hnsw", 1)
