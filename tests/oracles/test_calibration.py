"""The calibrations of the confidence module, by hand and against another optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

from pipeline.selection import _calibration, confidence

from .examples import noisy_classes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_posterior_weighs_the_image_and_the_given_label_by_hand():
    """C = 3, e = 0.4, so a particular wrong label has the chance 0.2.

    Confidences (0.5, 0.3, 0.2), sum 1: t = (s - 0.2) / (1 - 0.4 - 0.2) = (0.75, 0.25, 1e-6).
    Given label 1: joint (0.75 * 0.2, 0.25 * 0.6, 1e-6 * 0.2) = (0.15, 0.15, 2e-7): a tie.
    """
    found = _calibration.calibrated(
        torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([1]), torch.tensor(0.4), "posterior"
    )
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 2e-7 / 0.3]]), rtol=1e-4, atol=1e-7)


def test_without_noise_the_posterior_is_the_given_label():
    raw = torch.rand(20, 5, generator=generator())
    labels = torch.arange(20) % 5
    found = _calibration.calibrated(raw, labels, torch.tensor(0.0), "posterior")
    torch.testing.assert_close(found, torch.nn.functional.one_hot(labels, 5).float())


def test_the_max_form_divides_by_the_rows_highest_confidence():
    raw = torch.tensor([[0.1, 0.4, 0.2]])
    found = _calibration.calibrated(raw, torch.tensor([0]), torch.tensor(0.3), "max")
    torch.testing.assert_close(found, torch.tensor([[0.25, 1.0, 0.5]]))


@pytest.mark.parametrize("how", ["none", "temperature"])
def test_these_forms_leave_the_sigmoid_of_the_fitted_logits(how):
    raw = torch.rand(3, 4, generator=generator())
    found = _calibration.calibrated(raw, torch.tensor([0, 1, 2]), torch.tensor(0.3), how)
    assert torch.equal(found, raw)


def their_fit(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Platt's maximum likelihood by SciPy, one entry of the (T, C) matrix at a time in float64."""
    rows, classes = logits.shape
    x = logits.double().numpy().ravel()
    is_given = torch.nn.functional.one_hot(labels, classes).numpy().ravel() > 0
    target = np.where(is_given, (rows + 1) / (rows + 2), 1 / (rows * (classes - 1) + 2))

    def cost(point: np.ndarray) -> float:
        moved = point[0] * x + point[1]
        return float((np.logaddexp(0, moved) - target * moved).mean())

    return scipy.optimize.minimize(cost, [1.0, 0.0], tol=1e-12).x


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.3, -1.0), (4.0, 2.0), (20.0, 0.5)])
def test_platt_scaling_finds_the_most_likely_slope_and_offset(slope, offset):
    """Labels drawn by softmax from logits that the module has stretched and moved."""
    right = 2 * torch.randn(400, 5, generator=generator())
    labels = torch.multinomial(right.softmax(dim=1), 1, generator=generator(1))[:, 0]
    logits = (right - offset) / slope
    found = _calibration.platt(logits, labels)
    np.testing.assert_allclose(found, their_fit(logits, labels), rtol=1e-3, atol=1e-3)


def test_platt_scaling_is_finite_where_the_labels_are_separated():
    labels = torch.arange(40) % 4
    logits = 10.0 * torch.nn.functional.one_hot(labels, 4) - 5
    slope, offset = _calibration.platt(logits, labels)
    fitted = torch.sigmoid(slope * logits + offset)
    target = torch.where(logits > 0, 41 / 42, 1 / 122)
    torch.testing.assert_close(fitted, target, rtol=0, atol=1e-3)


def test_platt_scaling_of_equal_logits_is_the_share_of_one_class():
    labels = torch.arange(40) % 4
    slope, offset = _calibration.platt(torch.full((40, 4), -3.0), labels)
    assert torch.sigmoid(torch.tensor(-3 * slope + offset)).item() == pytest.approx(0.25, abs=0.02)


def test_confidences_by_temperature_add_up_to_one_class_a_row():
    """The most likely offset makes the sum of all confidences the number of given labels."""
    features, labels, _ = noisy_classes(0, 0.4)
    given = (features, labels, 8, generator())
    quick = {"hidden": 32, "epochs": 2, "calibrate": "temperature"}
    state = confidence.start(*given, **quick)
    assert state.extras["values"].sum(dim=1).mean().item() == pytest.approx(1, abs=0.01)
    given[3].manual_seed(0)
    bare = confidence.start(*given, **(quick | {"calibrate": "none"}))
    assert abs(bare.extras["values"].sum(dim=1).mean().item() - 1) > 0.05
    given[3].manual_seed(0)
    assert torch.equal(state.scores, confidence.start(*given, **quick).scores)


def test_temperature_where_no_row_can_be_held_out_leaves_the_module_as_it_is():
    """Every class is a single row: all keep their label."""
    features = torch.randn(12, 6, generator=generator())
    state = confidence.start(
        features, torch.arange(12), 12, generator(), folds=3, epochs=1, calibrate="temperature"
    )
    assert (state.scores == 1).all()
