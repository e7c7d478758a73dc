"""One probability of several sources: learned from planted mistakes, and honest about its rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.audit import combination
from pipeline.audit.planting import plant
from pipeline.audit.quality import average_precision, calibration_error, quality


def draw(rate: float, count: int = 20000) -> tuple[Tensor, Tensor, Tensor]:
    """Two sources of normal log odds, the first twice as good."""
    generator = torch.Generator().manual_seed(0)
    is_wrong = torch.rand(count, generator=generator) < rate
    is_planted = torch.rand(count, generator=generator) < 0.1
    sign = torch.where(is_wrong | is_planted, 1.0, -1.0)[:, None]
    shift = torch.tensor([2.0, 1.0])
    z = sign * shift + torch.randn(count, 2, generator=generator)
    return z, is_wrong, is_planted  # log l(z) = 4 z_1 + 2 z_2


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_rate_and_probabilities_are_found_without_the_truth(rate: float) -> None:
    z, is_wrong, is_planted = draw(rate)
    model = combination.fit(z, is_planted)
    assert model.rate == pytest.approx(rate, abs=0.03)
    assert model.slopes[0] > model.slopes[1] > 0
    others = ~is_planted
    p = model.log_odds(z)[others].sigmoid().numpy()
    assert calibration_error(p, is_wrong[others].numpy()) < 0.03


def test_a_source_of_noise_gets_no_weight_and_none_speaks_for_the_opposite() -> None:
    z, _, is_planted = draw(0.2)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(z), 1, generator=generator) * 4
    model = combination.fit(torch.cat([z[:, :1], noise, -z[:, 1:]], dim=1), is_planted)
    assert model.slopes[0] > 1
    assert float(model.slopes[1]) < 0.2
    assert float(model.slopes[2]) == 0


def test_what_is_unknown_counts_as_neither() -> None:
    model = combination.Model(0.0, torch.ones(2, dtype=torch.float64), 0.5)
    found = model.log_odds(torch.tensor([[torch.nan, 1.0], [torch.nan, torch.nan]]))
    assert found.tolist() == [1.0, 0.0]


def test_a_training_that_agrees_changes_little_and_unknown_rows_stay() -> None:
    log_odds = torch.linspace(-4, 4, 200, dtype=torch.float64)
    suspicion = (log_odds / 2).sigmoid()  # too timid by half
    suspicion[7] = torch.nan
    found = combination.with_dynamics(log_odds, suspicion)
    assert torch.allclose(found, log_odds, atol=0.1)
    assert found[7] == log_odds[7]
    assert torch.equal(combination.with_dynamics(log_odds, torch.ones(200)), log_odds)


# Planting


def test_planted_labels_are_mistakes_like_those_that_were_found() -> None:
    labels = torch.arange(400) % 8
    suggested, suspicion = (labels + 4) % 8, torch.zeros(400)
    suspicion[:80] = 1.0
    changed, is_planted = plant(
        labels, suggested, suspicion, 8, 0.25, torch.Generator().manual_seed(0)
    )
    assert int(is_planted.sum()) == 100
    assert torch.equal(changed != labels, is_planted)
    assert not is_planted[:80].any()
    assert torch.equal(changed[is_planted], (labels[is_planted] + 4) % 8)


def test_where_no_mistake_was_found_every_other_class_is_as_likely() -> None:
    labels = torch.arange(4000) % 8
    changed, is_planted = plant(
        labels, (labels + 4) % 8, torch.zeros(4000), 8, 0.5, torch.Generator().manual_seed(0)
    )
    step = ((changed - labels) % 8)[is_planted].bincount(minlength=8)
    assert step[0] == 0
    assert step[1:].min() > 230  # of 2000 / 7


# Figures


def test_average_precision_by_hand() -> None:
    # Wrong at ranks 1 and 3: (1/1 + 2/3) / 2. Ties fall together: 2 wrong of 4 at once.
    scores, is_wrong = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
    assert average_precision(scores, is_wrong) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4), is_wrong) == pytest.approx(0.5)
    assert np.isnan(average_precision(scores, np.zeros(4, bool)))


def test_calibration_error_by_hand() -> None:
    # Bins [0.2, 0.3) and [0.9, 1]: |0.25 * 2 - 1| / 4 + |0.95 + 1 - 2| / 4.
    p, is_wrong = np.array([0.25, 0.25, 0.95, 1.0]), np.array([True, False, True, True])
    assert calibration_error(p, is_wrong) == pytest.approx((0.5 + 0.05) / 4)


def test_figures_that_make_no_sense_are_empty() -> None:
    found = quality(np.full(4, 0.1), np.zeros(4, bool), np.zeros(4, bool), 0.0)
    assert found["auc"] is None
    assert found["precision_at_estimated_rate"] is None
    assert found["calibration_error"] == pytest.approx(0.1)
