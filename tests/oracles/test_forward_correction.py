"""Softmax loss and forward correction: the loss, its closed form, and the estimated transition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from pipeline.choices.recipes import recipe
from pipeline.losses import _transition, forward_correction, normalized_softmax, softmax
from pipeline.measures import label_posterior
from pipeline.program.batch import Batch

from . import classifiers as oracle
from .examples import plain, random_batch, unit_rows

SEEDS = range(3)
CLASSES, DIM = 4, 3
near = pytest.approx
NOT_USED = torch.Generator()


def make_parameters(seed: int, classes: int = CLASSES) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {"weight": 4 * torch.randn(classes, DIM, generator=generator)}
    drawn["bias"] = torch.randn(classes, generator=generator)
    return {name: value.double().requires_grad_() for name, value in drawn.items()}


def random_transition(seed: int, classes: int = CLASSES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(classes, classes, dtype=torch.float64, generator=generator).softmax(dim=1)


def surveyed(batch: Batch, **survey: Tensor) -> Batch:
    return batch._replace(survey=survey)


def scores_of(parameters: dict[str, Tensor], batch: Batch) -> np.ndarray:
    weight, bias = (parameters[name].detach().numpy() for name in ("weight", "bias"))
    return np.array([weight @ x + bias for x in batch.embeddings.numpy()])


def flipped(seed: int, matrix: Tensor, rows: int = 2000, spread: float = 0.7) -> tuple[Tensor, ...]:
    """Gaussian classes, labels drawn by the matrix: unit rows (N, 16), given labels."""
    generator = torch.Generator().manual_seed(seed)
    classes = len(matrix)
    true = torch.arange(rows) % classes
    centres = torch.randn(classes, 16, generator=generator)
    features = centres[true] + spread * torch.randn(rows, 16, generator=generator)
    labels = torch.multinomial(matrix[true], 1, generator=generator)[:, 0]
    return functional.normalize(features - features.mean(dim=0), dim=1), labels


def estimated(rows: Tensor, labels: Tensor, classes: int, **options: object) -> dict[str, Tensor]:
    ones = torch.ones(len(rows))
    return forward_correction.survey(rows, labels, ones, classes, NOT_USED, **options)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", ["ones", "binary", "fractional"])
def test_softmax_loss_equals_the_loops(seed, weights):
    batch, parameters = random_batch(seed, weights=weights), make_parameters(seed)
    scores, rows = scores_of(parameters, batch), plain(batch)
    losses = [oracle.cross_entropy(s, y) for s, y in zip(scores, rows.labels, strict=True)]
    expected = oracle.weighted_mean(losses, rows.weights)
    assert softmax.loss(parameters, batch).item() == near(expected, abs=1e-12)
    assert softmax.logits(parameters, batch.embeddings).detach().numpy() == near(scores)


def test_the_logits_of_the_normalised_softmax_are_those_of_its_loss():
    batch = random_batch(0)
    parameters = {"proxies": torch.randn(CLASSES, DIM, dtype=torch.float64)}
    scores = normalized_softmax.logits(parameters, batch.embeddings, temperature=0.2)
    value = normalized_softmax.loss(parameters, batch, temperature=0.2)
    assert value.item() == near(functional.cross_entropy(scores, batch.labels).item())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", ["ones", "binary", "fractional"])
def test_forward_correction_equals_the_loops(seed, weights):
    batch, parameters = random_batch(seed, weights=weights), make_parameters(seed)
    scores, rows, matrix = scores_of(parameters, batch), plain(batch), random_transition(seed)
    terms = [oracle.forward(s, y, matrix.numpy()) for s, y in zip(scores, rows.labels, strict=True)]
    value = forward_correction.loss(parameters, surveyed(batch, transition=matrix))
    assert value.item() == near(oracle.weighted_mean(terms, rows.weights), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.75, 0.9])
def test_the_closed_form_equals_the_matrix_in_value_and_gradient(seed, rate):
    """0.75 of 4 classes: labels say nothing, so the gradient is 0; 0.9: they say what it is not."""
    batch, parameters = random_batch(seed, weights="fractional"), make_parameters(seed)
    matrix = torch.from_numpy(oracle.symmetric(CLASSES, rate))
    results = []
    for survey in ({"noise_rate": torch.tensor(rate).double()}, {"transition": matrix}):
        value = forward_correction.loss(parameters, batch._replace(survey=survey))
        results.append((value, torch.autograd.grad(value, [*parameters.values()])))
    torch.testing.assert_close(*results)
    if rate == 0.75:
        assert all(gradient.abs().max() < 1e-12 for gradient in results[0][1])


@pytest.mark.parametrize(
    "survey",
    [None, {"transition": torch.eye(CLASSES).double()}, {"noise_rate": torch.zeros(())}],
)
def test_without_noise_it_is_the_softmax_loss(survey):
    batch, parameters = random_batch(0, weights="fractional"), make_parameters(0)
    values = [
        softmax.loss(parameters, batch),
        forward_correction.loss(parameters, batch._replace(survey=survey)),
    ]
    gradients = [torch.autograd.grad(value, [*parameters.values()]) for value in values]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


SURVEYS = [{"noise_rate": torch.tensor(0.3).double()}, {"transition": random_transition(9)}]


@pytest.mark.parametrize("survey", SURVEYS)
def test_the_gradient_is_the_derivative(survey):
    batch, parameters = random_batch(0, rows=5, weights="fractional"), make_parameters(0)

    def loss(embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        given = batch._replace(embeddings=embeddings, survey=survey)
        return forward_correction.loss({"weight": weight, "bias": bias}, given)

    leaves = [batch.embeddings.requires_grad_(), *parameters.values()]
    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("survey", SURVEYS)
def test_three_runs_at_once_equal_three_runs_one_by_one(survey):
    batches = [random_batch(seed, weights="fractional") for seed in SEEDS]
    weights = [make_parameters(seed)["weight"].detach() for seed in SEEDS]
    bias = torch.zeros(CLASSES, dtype=torch.float64)
    surveys = [{name: value**power for name, value in survey.items()} for power in (1, 2, 3)]

    def run(embeddings, labels, rows, row_weights, weight, found):
        batch = Batch(embeddings, labels, rows, row_weights, survey=found)
        return forward_correction.loss({"weight": weight, "bias": bias}, batch)

    columns = [torch.stack([getattr(b, name) for b in batches]) for name in Batch._fields[:4]]
    stacked = {name: torch.stack([each[name] for each in surveys]) for name in survey}
    together = torch.func.vmap(run)(*columns, torch.stack(weights), stacked)
    alone = [run(*b[:4], w, s) for b, w, s in zip(batches, weights, surveys, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("survey", [*SURVEYS, {"noise_rate": torch.zeros(())}])
@pytest.mark.parametrize("classes", [1, CLASSES])
def test_confidently_wrong_rows_are_finite_and_absent_batches_give_no_gradient(survey, classes):
    batch = random_batch(0, num_classes=classes)
    if classes == 1 and "transition" in survey:
        survey = {"transition": torch.ones(1, 1).double()}
    weight = (300 * make_parameters(0, classes)["weight"].detach()).float().requires_grad_()
    parameters = {"weight": weight, "bias": torch.zeros(classes)}
    for weights in (torch.ones(14), torch.zeros(14)):
        given = batch._replace(embeddings=batch.embeddings.float(), weights=weights, survey=survey)
        value = forward_correction.loss(parameters, given)
        (gradient,) = torch.autograd.grad(value, weight)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert weights.any() or (value == 0 and not gradient.any())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("percentile", [1.0, 50.0, 97.0, 100.0])
@pytest.mark.parametrize("kind", ["anchors", "shares"])
def test_the_estimated_transition_equals_the_loops_whole_and_in_tiles(
    seed, kind, percentile, monkeypatch
):
    """30 rows of 6 classes, of which one has a single row and one has none."""
    generator = torch.Generator().manual_seed(seed)
    rows, labels = unit_rows(30, 5, generator), torch.randint(4, (30,), generator=generator)
    labels[7] = 4
    given = rows.numpy(), labels.numpy(), 6, percentile, _transition._SCALES
    loops = {"anchors": oracle.transition_of_anchors, "shares": oracle.transition_of_shares}
    expected = loops[kind](*given)
    options = {"transition": kind, "percentile": percentile}
    for tile in (4096, 7):
        monkeypatch.setattr(label_posterior, "_TILE", tile)
        found = estimated(rows, labels, 6, **options)["transition"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.sum(dim=1), 1, rtol=0, atol=1e-12)
    assert found[5, 5] == near(1, abs=1e-6)
    assert kind == "anchors" or found[4, 4] == near(1, abs=1e-6)
    assert found.min() > 5e-8


def test_thresholds_by_hand():
    """Class 0 has scores 1 to 5, class 2 the score 9, class 1 none."""
    scores, labels = torch.tensor([5.0, 4, 3, 2, 9, 1]), torch.tensor([0, 0, 0, 0, 2, 0])
    for percentile, least in [(97, 5), (100, 5), (80, 4), (79, 4), (60, 3), (1, 1)]:
        found = _transition.thresholds(scores, labels, 3, percentile)
        assert found.tolist() == [least, torch.inf, 9]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["none", "symmetric", "next class"])
def test_the_estimated_transition_is_close_to_the_planted_one(seed, kind):
    """About 110 anchors a class: a standard error of 0.044 on the diagonal, of 25 entries."""
    identity = torch.eye(5)
    planted = {
        "none": identity,
        "symmetric": torch.from_numpy(oracle.symmetric(5, 0.3)).float(),
        "next class": 0.7 * identity + 0.3 * identity.roll(1, 1),
    }[kind]
    rows, labels = flipped(seed, planted)
    found = estimated(rows, labels, 5, transition="shares")["transition"]
    assert (found.sum(dim=1) - 1).abs().max() < 1e-6
    assert (found - planted).abs().max() < 0.15
    assert (found - planted).abs().mean() < 0.04


def test_percentiles_are_those_of_the_paper_and_ours_unless_given():
    rows, labels = flipped(0, torch.eye(5), rows=300)
    for kind, usual in [("anchors", 97.0), ("shares", 80.0)]:
        found = estimated(rows, labels, 5, transition=kind)
        torch.testing.assert_close(
            found, estimated(rows, labels, 5, transition=kind, percentile=usual)
        )


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_the_symmetric_rate_is_estimated_or_taken_as_given(rate):
    rows, labels = flipped(0, torch.from_numpy(oracle.symmetric(5, rate)).float(), spread=0.4)
    assert estimated(rows, labels, 5)["noise_rate"].item() == near(rate, abs=0.04)
    assert estimated(rows, labels, 5, noise_rate=0.25)["noise_rate"].item() == 0.25


@pytest.mark.parametrize("transition", ["symmetric", "anchors", "shares"])
def test_rows_that_the_selection_leaves_out_do_not_take_part(transition):
    rows, labels = flipped(0, torch.from_numpy(oracle.symmetric(5, 0.3)).float(), rows=300)
    weights = (torch.arange(300) % 3 > 0).float()
    kept = weights > 0
    options = {"transition": transition}
    found = forward_correction.survey(rows, labels, weights, 5, NOT_USED, **options)
    torch.testing.assert_close(found, estimated(rows[kept], labels[kept], 5, **options))
    nobody = forward_correction.survey(rows, labels, 0 * weights, 5, NOT_USED, **options)
    torch.testing.assert_close(nobody, estimated(rows, labels, 5, **options))


def test_among_one_class_no_label_is_wrong():
    rows = unit_rows(6, 3, torch.Generator().manual_seed(0))
    labels = torch.zeros(6).long()
    assert estimated(rows, labels, 1)["noise_rate"] == 0
    assert estimated(rows, labels, 1, transition="shares")["transition"] == 1


def test_anchors_of_thousands_of_classes_are_refused_and_symmetric_is_named():
    rows, labels = torch.ones(3, 2), torch.tensor([0, 1, 2])
    with pytest.raises(InputError, match=r"got 5000 classes.*loss\.transition=symmetric"):
        estimated(rows, labels, 5000, transition="shares")


def test_the_recipe_is_the_loss_without_a_selection():
    assert recipe("f-correction").loss == "forward-correction"
    assert recipe("f-correction").selection == "none"
