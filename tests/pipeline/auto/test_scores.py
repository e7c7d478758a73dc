"""Evidence: paired differences in units of their error over classes, by loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.auto.scores import Queries, Scores, is_above, is_better


def drawn(seed: int = 0, count: int = 60, num_classes: int = 8) -> tuple[Queries, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count,), generator=source)
    weights = torch.rand(count, generator=source).double() * (labels != 3)
    values = torch.rand(2, count, generator=source).double()
    return Queries(weights, labels), values[0] + 0.1, values[1]


def evidence(queries: Queries, values: Tensor, others: Tensor) -> float:
    """The mean difference over the root of the sum of squared sums of each class."""
    weights, labels = queries.weights.tolist(), queries.labels.tolist()
    differences = (values - others).tolist()
    mean = sum(w * d for w, d in zip(weights, differences, strict=True)) / sum(weights)
    sums: dict[int, float] = {}
    for w, d, label in zip(weights, differences, labels, strict=True):
        sums[label] = sums.get(label, 0.0) + w * (d - mean)
    error = sum(each**2 for each in sums.values()) ** 0.5 / sum(weights)
    return mean / error


@pytest.mark.parametrize("seed", range(3))
def test_evidence_is_that_of_a_loop(seed: int) -> None:
    queries, values, others = drawn(seed)
    assert queries.evidence(values, others) == pytest.approx(evidence(queries, values, others))
    assert queries.evidence(others, values) == pytest.approx(-evidence(queries, values, others))


def test_four_queries_by_hand() -> None:
    """Differences 1, 0 in class 0 and 1, 1 in class 1, all trusted: mean 3/4, sums -1/2 and 1/2,
    error (1/2)^(1/2) / 4, evidence 3 * 2^(1/2)."""
    queries = Queries(torch.ones(4).double(), torch.tensor([0, 0, 1, 1]))
    values = torch.tensor([1, 0, 1, 1]).double()
    assert queries.evidence(values, torch.zeros(4).double()) == pytest.approx(3 * 2**0.5)


def test_equal_results_and_one_class_alone_are_no_evidence() -> None:
    queries, values, others = drawn()
    assert queries.evidence(values, values) == 0
    lone = queries._replace(weights=queries.weights * (queries.labels == 2))
    assert lone.evidence(values, others) == 0


def test_queries_that_nobody_trusts_do_not_count() -> None:
    queries, values, others = drawn()
    spoiled = torch.where(queries.weights > 0, values, 99)
    assert queries.mean(spoiled) == pytest.approx(queries.mean(values))
    assert queries.evidence(spoiled, others) == pytest.approx(queries.evidence(values, others))


def test_better_is_better_by_both_measures_and_above_by_one_if_the_other_is_not_worse() -> None:
    queries, _, others = drawn()
    better, same, worse = others + 0.5 + 0.01 * queries.labels, others, others - 0.5
    reference = Scores(others, others)
    for rule in (is_better, is_above):
        assert rule(queries, Scores(better, better), reference)
        assert not rule(queries, Scores(better, worse), reference)
        assert not rule(queries, Scores(worse, better), reference)
        assert not rule(queries, reference, reference)
    for scores in (Scores(better, same), Scores(same, better)):
        assert is_above(queries, scores, reference)
        assert not is_better(queries, scores, reference)
