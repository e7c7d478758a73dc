"""Metrics of groups of queries: each as if it were evaluated alone."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.measures import metrics
from pipeline.measures.breakdown import by_group, mean_over_groups

near = pytest.approx


def example() -> tuple[metrics.PerQuery, torch.Tensor, torch.Tensor]:
    """40 rows of 7 classes searching each other; class 6 has one row."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(40, 5, generator=generator), dim=1)
    labels = torch.arange(40) % 6
    labels[-1] = 6
    own = torch.arange(40)
    found = metrics.per_query(
        rows, labels, rows, labels, recall_at=(1, 4), map_at=(3,), own_rows=own
    )
    return found, rows, labels


def test_a_group_has_the_metrics_of_its_queries_searching_alone():
    measured, rows, labels = example()
    groups = by_group(measured, labels, 7)
    for number in range(6):
        own = (labels == number).nonzero()[:, 0]
        alone = metrics.evaluate(
            rows[own], labels[own], rows, labels, recall_at=(1, 4), map_at=(3,), own_rows=own
        )
        assert groups[number].shares() == near(alone.shares(), abs=1e-12)
        assert groups[number].num_queries == len(own)


def test_the_groups_weighted_by_their_queries_make_up_the_whole():
    measured, _, labels = example()
    groups, whole = by_group(measured, labels, 7), measured.average()
    assert sum(each.num_queries for each in groups) == whole.num_queries == 39
    assert sum(each.lone_queries for each in groups) == whole.lone_queries == 1
    total = sum(each.map_at_r * each.num_queries for each in groups if each.num_queries)
    assert total / 39 == near(whole.map_at_r, abs=1e-12)


def test_a_group_whose_queries_have_no_match_has_no_metrics_and_is_not_in_the_mean():
    measured, _, labels = example()
    groups = by_group(measured, labels, 8)
    for number, lone in ((6, 1), (7, 0)):  # a lone query; a group without any query
        assert (groups[number].num_queries, groups[number].lone_queries) == (0, lone)
        assert math.isnan(groups[number].map_at_r)
    mean = mean_over_groups(groups)
    assert mean["map@3"] == near(sum(each.map_at[3] for each in groups[:6]) / 6, abs=1e-12)
    assert list(mean) == ["recall@1", "recall@4", "precision@1", "r_precision", "map@r", "map@3"]


def test_without_any_group_there_is_no_mean():
    assert mean_over_groups([]) == {}
