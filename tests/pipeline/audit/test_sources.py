"""The sources against plain loops in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.audit import centres, neighbours, out_of_fold
from pipeline.audit.evidence import BOUND
from pipeline.audit.examples import nearest_in
from pipeline.measures import neighbourhood
from pipeline.measures.copies import first_copies
from pipeline.measures.whitening import whitened

CLASSES = 4
SIZES = (9, 8, 7, 1)


@pytest.fixture(name="rows")
def rows_() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(sum(SIZES), 6, generator=generator)
    values[3] = values[2]  # copies of one class
    values[20] = values[2]  # and one of another
    return torch.nn.functional.normalize(values, dim=1)


LABELS = torch.tensor([c for c, size in enumerate(SIZES) for _ in range(size)])
WEIGHTS = torch.linspace(0.2, 1, sum(SIZES))


def log_odds(shares: dict[int, float], own: int) -> float:
    others = sum(share for number, share in shares.items() if number != own)
    return float(np.clip(np.log(others) - np.log(shares[own]), -BOUND, BOUND))


def test_neighbours_vote_once_for_each_different_image(rows: Tensor) -> None:
    near = neighbourhood.find(rows, first_copies(rows), 5)
    found = neighbours.judge(near, LABELS, WEIGHTS, CLASSES, scale=10.0)
    for row in range(len(rows)):
        others = [
            at
            for at in range(len(rows))
            if not torch.equal(rows[at], rows[row]) and at not in (3, 20)  # copies of row 2
        ]
        others.sort(key=lambda at: -float(rows[at] @ rows[row]))
        votes = dict.fromkeys(range(CLASSES), 0.0)
        top = float(rows[others[0]] @ rows[row])
        for at in others[:5]:
            weight = float(WEIGHTS[at]) * np.exp(10 * (float(rows[at] @ rows[row]) - top))
            votes[int(LABELS[at])] += weight
        total, own = sum(votes.values()), votes[int(LABELS[row])]
        if LABELS[row] == 3:
            assert found.log_odds[row].isnan()
            continue
        expected = np.log(total - own + 1e-3) - np.log(own + 1e-3)
        assert float(found.log_odds[row]) == pytest.approx(expected, abs=1e-4)
        for number, share in zip(found.classes[row], found.shares[row], strict=True):
            if number >= 0:
                assert float(share) == pytest.approx(votes[int(number)] / (total + 2e-3), abs=1e-5)


def test_a_row_is_left_out_of_its_own_centre(rows: Tensor) -> None:
    found = centres.judge(rows, LABELS, WEIGHTS, CLASSES, scale=8.0)
    for row in range(len(rows)):
        shares = {}
        for number in range(CLASSES):
            inside = [at for at in range(len(rows)) if LABELS[at] == number and at != row]
            if inside:
                centre = sum(WEIGHTS[at] * rows[at] for at in inside)
                shares[number] = float(np.exp(8 * float(centre @ rows[row] / centre.norm())))
        if LABELS[row] == 3:
            assert found.log_odds[row].isnan()
            continue
        assert float(found.log_odds[row]) == pytest.approx(
            log_odds(shares, int(LABELS[row])), abs=1e-3
        )
        best = max((c for c in shares if c != LABELS[row]), key=lambda c: shares[c])
        assert int(found.classes[row, 0]) == best


def test_the_discriminant_has_not_seen_the_rows_fold(rows: Tensor) -> None:
    fold = torch.arange(len(rows)) % 3
    folds = out_of_fold.folds_of(rows, fold)
    found = out_of_fold.judge(rows, LABELS, WEIGHTS, folds, CLASSES, scale=2.0)
    x, w, y = rows.double().numpy(), WEIGHTS.double().numpy(), LABELS.numpy()
    for row in range(len(rows)):
        seen = fold.numpy() != int(fold[row])
        products = x[seen].T @ x[seen]
        metric = (products / np.diag(products).mean() + np.eye(6)) / 2
        shares = {}
        for number in range(CLASSES):
            inside = seen & (y == number)
            if inside.any():
                mean = (w[inside, None] * x[inside]).sum(0) / w[inside].sum()
                turned = np.linalg.solve(metric, mean)
                shares[number] = float(np.exp(2 * (x[row] @ turned - mean @ turned / 2)))
        if LABELS[row] == 3:
            assert found.log_odds[row].isnan()
            continue
        assert float(found.log_odds[row]) == pytest.approx(log_odds(shares, y[row]), abs=1e-3)


def test_whitening_levels_the_variances() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 3, generator=generator) * torch.tensor([10.0, 1.0, 0.1]) + 5
    centred = (values - values.mean(0)).double()
    share, directions = torch.linalg.eigh(centred.T @ centred / len(values))
    root = directions @ torch.diag((share + 0.01 * share.mean()).rsqrt()) @ directions.T
    expected = torch.nn.functional.normalize(centred @ root, dim=1)
    assert torch.allclose(whitened(values, ridge=0.01), expected.float(), atol=1e-3)


def test_examples_are_the_nearest_of_a_class_without_the_row_itself(rows: Tensor) -> None:
    asked = (LABELS + 1) % CLASSES
    asked[:4] = LABELS[:4]
    found = nearest_in(rows, LABELS, asked, 6)
    for row in range(len(rows)):
        inside = [at for at in range(len(rows)) if LABELS[at] == asked[row] and at != row]
        inside.sort(key=lambda at: -float(rows[at] @ rows[row]))
        chosen = [at for at in found[row].tolist() if at >= 0]
        assert set(chosen) <= set(inside)
        assert len(set(chosen)) == min(6, len(inside))
        cosines = [float(rows[at] @ rows[row]) for at in chosen]  # copies are equally near
        assert cosines == pytest.approx([float(rows[at] @ rows[row]) for at in inside[:6]])
