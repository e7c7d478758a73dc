"""The estimated transition matrix against plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from pipeline.measures.label_posterior import fit_symmetric
from pipeline.measures.transition import counted_matrix, estimate_transition


def shares(rows, labels, row, num_classes, scale):
    """q_k of one row: softmax over unit class means without the row itself."""
    logits = []
    for label in range(num_classes):
        others = [at for at in range(len(rows)) if labels[at] == label and at != row]
        total = [sum(rows[at][i] for at in others) for i in range(len(rows[0]))]
        norm = math.sqrt(sum(value**2 for value in total))
        logits.append(scale * sum(a * b for a, b in zip(total, rows[row], strict=True)) / norm)
    top = max(logits)
    parts = [math.exp(value - top) for value in logits]
    return [part / sum(parts) for part in parts]


def estimate(rows, labels, num_classes, rate, scale):
    matrix = [
        [1 - rate if a == b else rate / (num_classes - 1) for b in range(num_classes)]
        for a in range(num_classes)
    ]
    q = [shares(rows, labels, row, num_classes, scale) for row in range(len(rows))]
    for _ in range(2):
        sums = [[0.0] * num_classes for _ in range(num_classes)]
        for row, given in enumerate(labels):
            joint = [q[row][k] * matrix[k][given] for k in range(num_classes)]
            for k in range(num_classes):
                sums[k][given] += joint[k] / sum(joint)
        matrix = [[value / sum(line) for value in line] for line in sums]
    return matrix


@pytest.fixture
def rows():
    """60 rows in 4 directions, and their labels, a quarter of them wrong."""
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(60) % 4
    centres = torch.randn(4, 8, generator=generator)
    values = centres[right] + torch.randn(60, 8, generator=generator) / 2
    wrong = torch.rand(60, generator=generator) < 0.25
    labels = torch.where(wrong, (right + 1) % 4, right)
    return functional.normalize(values.double(), dim=1), labels


def test_it_equals_two_steps_of_expectation_maximisation_in_plain_loops(rows):
    values, labels = rows
    rate, scale = fit_symmetric(values, labels, 4)
    expected = estimate(values.tolist(), labels.tolist(), 4, float(rate), float(scale))
    found = estimate_transition(values, labels, 4)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), atol=1e-6, rtol=0)


def test_rows_sum_to_one_and_a_shift_by_one_class_is_seen(rows):
    found = estimate_transition(*rows, 4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4, dtype=found.dtype))
    beside = found.clone().fill_diagonal_(0)
    assert beside.argmax(dim=1).tolist() == [1, 2, 3, 0]


def test_a_class_without_rows_has_one_for_itself(rows):
    values, labels = rows
    found = estimate_transition(values, labels, 6)
    assert found[4:, 4:].tolist() == torch.eye(2).tolist()
    assert float(found[:4, 4:].max()) < 0.1


def test_counting_is_counting():
    before, after = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1])
    found = counted_matrix(before, after, 3)
    expected = [[1 / 3, 2 / 3, 0], [0, 1, 0], [0, 0, 1]]
    torch.testing.assert_close(found, torch.tensor(expected))
