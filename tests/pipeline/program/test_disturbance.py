"""Dropout and noise on features: what they do, and what they depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.program.disturbance import begin, disturbed

ROWS, FEATURES = 400, 50
NUMBERS = torch.arange(ROWS)


def features() -> Tensor:
    """Rows (N, F) whose features have the deviations 0.5 to 2, and one none."""
    source = torch.Generator().manual_seed(0)
    rows = torch.linspace(0.5, 2, FEATURES) * torch.randn(ROWS, FEATURES, generator=source)
    rows[:, 7] = 3.0
    return rows


def seen(
    rows: Tensor, numbers: Tensor = NUMBERS, *, step: int = 5, seed: int = 1, head: int = 0, **by
) -> Tensor:
    strength = begin(features(), seed, **{"dropout": 0.0, "noise": 0.0, **by})
    return disturbed(rows, strength, torch.tensor(float(step)), numbers, head)


def test_nothing_is_computed_where_nothing_is_asked_for():
    rows = features()
    assert seen(rows) is rows
    assert begin(rows, 1, dropout=0.0, noise=0.0) == {}


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_leaves_out_its_share_and_scales_up_the_rest(dropout):
    """Standard error of the share over 20,000 values: at most 0.0036."""
    rows = features()
    found = seen(rows, dropout=dropout)
    is_left_out = found == 0
    assert abs(float(is_left_out.float().mean()) - dropout) < 0.012
    kept = (rows / (1 - dropout))[~is_left_out]
    torch.testing.assert_close(found[~is_left_out], kept)
    assert (is_left_out.float().mean(dim=0) - dropout).abs().max() < 0.13
    assert (is_left_out.float().mean(dim=1) - dropout).abs().max() < 0.35


def test_noise_is_normal_in_units_of_each_feature_s_deviation():
    rows = features()
    added = seen(rows, noise=0.3) - rows
    assert not added[:, 7].any()
    others = torch.arange(FEATURES) != 7
    z = (added / (0.3 * rows.std(dim=0, correction=0)))[:, others]
    assert abs(float(z.mean())) < 0.03
    assert abs(float(z.std()) - 1) < 0.03
    assert abs(float((z.abs() > 1.96).float().mean()) - 0.05) < 0.008
    assert abs(float((z**4).mean()) - 3) < 0.3
    likeness = torch.corrcoef(z.T) - torch.eye(FEATURES - 1)
    assert likeness.abs().max() < 0.25
    assert z.isfinite().all()


@pytest.mark.parametrize("by", [{"dropout": 0.5}, {"noise": 1.0}])
def test_what_a_row_sees_hangs_on_its_number_and_not_on_its_place(by):
    rows, order = features(), torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    assert torch.equal(seen(rows, **by)[order], seen(rows[order], order, **by))
    few = order[:9]
    assert torch.equal(seen(rows, **by)[few], seen(rows[few], few, **by))


@pytest.mark.parametrize("other", [{"step": 6}, {"seed": 2}, {"head": 1}, {"numbers": NUMBERS + 1}])
def test_another_step_seed_head_or_row_sees_something_else(other):
    rows = torch.ones(ROWS, FEATURES)
    one, two = ((seen(rows, dropout=0.5, **each) > 0).float() for each in ({}, other))
    likeness = torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]
    assert abs(float(likeness)) < 0.03


def test_dropout_and_noise_do_not_know_of_each_other():
    rows = features()
    both, alone = seen(rows, dropout=0.5, noise=0.3), seen(rows, noise=0.3)
    is_kept = both != 0
    assert torch.equal(is_kept, seen(rows, dropout=0.5) != 0)
    torch.testing.assert_close(both[is_kept], (2 * alone)[is_kept])
    z = (alone - rows)[:, 8:]
    likeness = torch.corrcoef(torch.stack([z.flatten(), is_kept[:, 8:].flatten().float()]))[0, 1]
    assert abs(float(likeness)) < 0.03


def test_runs_at_once_see_what_each_sees_alone():
    rows, numbers = features()[:12], torch.arange(12)
    runs = [begin(features(), seed, dropout=0.1 + 0.3 * seed, noise=0.2) for seed in range(3)]
    stacked = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    clocks = torch.tensor([0.0, 3.0, 3.0])
    together = torch.func.vmap(lambda own, clock: disturbed(rows, own, clock, numbers, 0))
    found = together(stacked, clocks)
    for run, (own, clock) in enumerate(zip(runs, clocks, strict=True)):
        torch.testing.assert_close(found[run], disturbed(rows, own, clock, numbers, 0))
