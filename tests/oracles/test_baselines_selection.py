"""kNN label share, and PRISM with von Mises-Fisher classes."""

from __future__ import annotations

from functools import partial
from math import exp

import numpy as np
import pytest
import torch
from scipy.special import ive
from torch import Tensor
from torch.nn import functional

from pipeline.measures import label_posterior
from pipeline.measures.detection import detection
from pipeline.selection import (
    _von_mises_fisher,
    knn,
    prism,
    prism_vmf,
)

from . import baselines_selection as oracle
from .examples import at_angles, noisy_classes, unit_rows

SEEDS = range(4)
near = pytest.approx
NOT_USED = torch.Generator()


def random_rows(seed: int, num_classes: int = 6, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Unit rows (N, 5) float64, two of them copies of others; class 4 has one row, class 5 none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes - 2, (rows,), generator=generator)
    labels[7] = num_classes - 2
    features = unit_rows(rows, 5, generator)
    features[20], features[21] = features[3], features[3]
    return features, labels


def test_label_shares_of_five_rows_by_hand():
    """Rows at 0, 10, 20, 25, 90 of class 0, 0, 1, 1, 0 and k = 3. Row 2 (at 20) sees 25, 10, 0:
    one vote for its class, two for class 0: 1/2. Row 4 sees 25, 20, 10: one for its own, two for
    class 1: 1/2. Row 0 sees 10, 20, 25: 1/2. Row 1 sees 0, 20, 25 (10, 10, 15 away): 1/2."""
    labels = torch.tensor([0, 0, 1, 1, 0])
    rows = at_angles([0, 10, 20, 25, 90])
    state = knn.start(rows, labels, 2, NOT_USED, neighbours=3)
    assert state.scores.tolist() == near([0.5, 0.5, 0.5, 0.5, 0.5])
    assert state.weights.tolist() == [1] * 5
    state = knn.start(rows, labels, 2, NOT_USED, neighbours=3, threshold=0.6)
    assert state.weights.tolist() == [0] * 5
    assert state.noise_rate == 1


def test_a_copy_votes_once_and_not_for_its_own_copies():
    """Rows at 0, 0, 0 (class 0), 10 (class 1), 20 (class 0) and k = 2. Row 3 sees the first row at
    0 and the row at 20, one place for the three copies: 0 votes. A copy sees 10 and 20 only."""
    labels = torch.tensor([0, 0, 0, 1, 0, 1])
    state = knn.start(at_angles([0, 0, 0, 10, 20, 180]), labels, 2, NOT_USED, neighbours=2)
    assert state.scores[:4].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("neighbours", [1, 3, 10, 37, 38, 39, 1000])
def test_label_shares_equal_the_loops(seed, neighbours):
    """Among them k of all other rows and beyond."""
    rows, labels = random_rows(seed)
    state = knn.start(rows, labels, 6, NOT_USED, neighbours=neighbours)
    given = np.asarray(rows), np.asarray(labels)
    expected = [oracle.label_share(i, *given, neighbours) for i in range(len(rows))]
    assert state.scores.tolist() == near(expected, abs=1e-12)
    assert state.weights.tolist() == [float(score >= 0.5) for score in expected]
    assert state.noise_rate == near((state.weights == 0).double().mean().item())


def test_label_shares_do_not_depend_on_the_tiles(monkeypatch):
    rows, labels = random_rows(1)
    whole = knn.start(rows, labels, 6, NOT_USED, neighbours=7).scores
    for elements in (1, 100, 500):
        monkeypatch.setattr(knn, "_TILE_ELEMENTS", elements)
        assert torch.equal(knn.start(rows, labels, 6, NOT_USED, neighbours=7).scores, whole)


def test_the_number_of_neighbours_is_the_median_class_size_up_to_50():
    rows, labels = random_rows(2)  # sizes of the classes that have rows: four of 5-15, one of 1
    sizes = sorted(size for size in labels.bincount().tolist() if size)
    chosen = knn.start(rows, labels, 6, NOT_USED, neighbours=sizes[(len(sizes) - 1) // 2])
    assert torch.equal(knn.start(rows, labels, 6, NOT_USED).scores, chosen.scores)
    features, labels, _ = noisy_classes(0, 0.3)  # 75 rows a class
    fifty = knn.start(features, labels, 8, NOT_USED, neighbours=50)
    assert torch.equal(knn.start(features, labels, 8, NOT_USED).scores, fifty.scores)


def test_rows_that_are_all_copies_and_rows_alone_in_their_class_are_kept():
    same = torch.ones(4, 3)
    assert knn.start(same, torch.tensor([0, 1, 0, 1]), 2, NOT_USED).weights.tolist() == [1] * 4
    copies = at_angles([0, 0, 5, 6, 7])  # class 1 is two copies of one row
    state = knn.start(copies, torch.tensor([1, 1, 0, 0, 0]), 2, NOT_USED, neighbours=2)
    assert state.scores[:2].tolist() == [1, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_in_the_heads_space_judge_anew_after_the_first_epoch(seed):
    """The published form. Copies are those of the features, whatever the head makes of them."""
    features, labels = random_rows(seed)
    embeddings = functional.normalize(random_rows(seed + 9)[0] + features, dim=1)
    embeddings[20], embeddings[21] = embeddings[3], embeddings[3]
    before = knn.start(features, labels, 6, NOT_USED, neighbours=7)
    look = partial(knn.refresh, before, embeddings, labels, 6, neighbours=7, threshold=0.4)
    after = look(0.1, space="head")
    given = np.asarray(embeddings), np.asarray(labels)
    expected = [oracle.label_share(i, *given, 7) for i in range(len(labels))]
    assert after.scores.tolist() == near(expected, abs=1e-12)
    assert after.weights.tolist() == [float(score >= 0.4) for score in expected]
    assert look(0.0, space="head") is before
    assert look(0.1) is before


def test_planted_wrong_labels_rank_below_right_ones_with_200_neighbours_too():
    features, labels, is_flipped = noisy_classes(0, 0.3)  # 75 rows a class
    for neighbours in ("auto", 200):
        scores = knn.start(features, labels, 8, NOT_USED, neighbours=neighbours).scores
        assert detection(np.asarray(scores), is_flipped.numpy(), is_flipped.numpy()).auc > 0.95


@pytest.mark.parametrize("dim", [64, 256, 512, 1280])
def test_the_logarithm_of_the_bessel_function_is_close_to_scipys(dim):
    """Where scipy's value is a float: log I = log ive + kappa."""
    kappa = np.array([1.0, 5, 20, 50, 100, 300, 700, 1500, 5000])
    scaled = ive(dim / 2 - 1, kappa)
    kappa, scaled = kappa[scaled > 1e-290], scaled[scaled > 1e-290]
    assert len(kappa) >= 4
    ours = _von_mises_fisher.log_bessel(dim / 2 - 1, torch.from_numpy(kappa)).numpy()
    error = np.abs(ours - np.log(scaled) - kappa)
    assert error.max() < (3e-3 if dim < 512 else 4e-4)


@pytest.mark.parametrize(
    ("order", "kappa", "expected"),
    [
        (31, 1, -99.571974575165503),
        (31, 50, 37.712266816608242),
        (31, 5000, 4994.7263805695265),
        (255, 1, -1338.4636556005421),
        (255, 100, -154.55739702711972),
        (255, 5000, 4988.3207486457086),
        (639, 1, -3935.9486252726539),
        (639, 300, -256.97590181270355),
        (1023, 50, -2777.760274119282),
        (1023, 4000, 3864.8015382054093),
    ],
)
def test_the_logarithm_of_the_bessel_function_is_close_to_mpmaths(order, kappa, expected):
    """log(besseli(order, kappa)) of mpmath at 40 digits, also where no float holds I itself."""
    found = _von_mises_fisher.log_bessel(order, torch.tensor(float(kappa), dtype=torch.float64))
    assert found.item() == near(expected, rel=0, abs=2.8e-3 if order == 31 else 3.4e-4)


def test_concentrations_by_hand():
    """R = 0.5, d = 5: 0.5 (5 - 0.25) / 0.75 = 19/6. R = 0.8: 0.8 (5 - 0.64) / 0.36. A class of one
    row (R = 1) and an empty one get the median; without a class of 10 rows the largest decide."""
    lengths = torch.tensor([0.5, 0.8, 1.0, 0.0], dtype=torch.float64)
    low, high = 19 / 6, 0.8 * 4.36 / 0.36
    many, few = torch.tensor([12.0, 10, 1, 0]), torch.tensor([3.0, 2, 1, 0])
    find = _von_mises_fisher.concentrations
    assert find(lengths, many, 5, is_shared=False).tolist() == near([low, high, low, low])
    assert find(lengths, many, 5, is_shared=True).tolist() == near([low] * 4)
    assert find(lengths, few, 5, is_shared=False).tolist() == near([low] * 4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("concentration", ["shared", "class"])
def test_vmf_scores_equal_the_loops(seed, passes, concentration):
    rows, labels = random_rows(seed)
    options = {"noise_rate": 0.2, "passes": passes, "concentration": concentration}
    state = prism_vmf.start(rows, labels, 6, NOT_USED, **options)
    given = np.asarray(rows), np.asarray(labels), 6, 0.2, passes, concentration == "shared"
    scores, kept = oracle.vmf(*given)
    np.testing.assert_allclose(state.scores, [exp(score) for score in scores], rtol=0, atol=1e-9)
    assert state.weights.bool().tolist() == kept


def test_vmf_with_shared_concentration_is_prism_at_that_scale():
    rows, labels = random_rows(0)
    ones = [True] * len(rows)
    given = np.asarray(rows), np.asarray(labels)
    _, kappa = oracle.concentrations(*given, ones, 6, is_shared=True)
    vmf = prism_vmf.start(rows, labels, 6, NOT_USED, noise_rate=0.2, passes=1)
    same = prism.start(rows, labels, 6, NOT_USED, noise_rate=0.2, passes=1, scale=kappa)
    torch.testing.assert_close(vmf.scores**kappa, same.scores)
    assert torch.equal(vmf.weights, same.weights)


@pytest.mark.parametrize("concentration", ["shared", "class"])
def test_vmf_scores_do_not_depend_on_the_tiles(monkeypatch, concentration):
    rows, labels = random_rows(0)
    options = {"noise_rate": 0.2, "concentration": concentration}
    whole = prism_vmf.start(rows, labels, 6, NOT_USED, **options).scores
    monkeypatch.setattr(label_posterior, "_TILE", 7)
    torch.testing.assert_close(prism_vmf.start(rows, labels, 6, NOT_USED, **options).scores, whole)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_vmf_refresh_blends_the_logarithms_of_both_spaces(progress):
    features, labels = random_rows(0)
    embeddings, _ = random_rows(9)
    state = prism_vmf.start(features, labels, 6, NOT_USED, noise_rate=0.2)
    refreshed = prism_vmf.refresh(state, embeddings, labels, 6, progress)
    ours, _ = oracle.vmf(np.asarray(features), np.asarray(labels), 6, 0.2, 2, True)
    head, _ = oracle.vmf(np.asarray(embeddings), np.asarray(labels), 6, 0.2, 2, True)
    share = 0.5 * progress
    blend = [exp((1 - share) * p + share * q) for p, q in zip(ours, head, strict=True)]
    np.testing.assert_allclose(refreshed.scores, blend, rtol=0, atol=1e-9)


def test_vmf_scores_of_many_dimensions_do_not_underflow():
    """1,280 dimensions, kappa in the thousands: P itself would be 0 for every wrong row."""
    features = torch.zeros(60, 1280)
    features[torch.arange(60), torch.arange(60) % 3] = 1
    features += 0.01 * torch.randn(60, 1280, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 3
    labels[:4] = torch.tensor([1, 2, 0, 1])
    for concentration in ("shared", "class"):
        state = prism_vmf.start(features, labels, 3, NOT_USED, concentration=concentration)
        assert (state.scores[:4] < state.scores[4:].min()).all()
        assert (state.scores[:4] > 0).all()
