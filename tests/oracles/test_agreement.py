"""Agreement against plain loops, by hand, and on real photos with known wrong labels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.choices.settings import Settings
from pipeline.labels.training import training_labels
from pipeline.measures.copies import first_copies
from pipeline.selection import agreement
from pipeline.selection._state import State
from pipeline.training.protocol import split
from pipeline.transforms.fitting import fit

from . import agreement as oracle

GROCERY = Path(__file__).parents[2].parent / "shared" / "data" / "grocery"


def noisy(seed: int, count: int = 48, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    """Rows with copies under the same label and under others; class 4 has one row."""
    source = torch.Generator().manual_seed(seed)
    true = torch.arange(count) % (num_classes - 1)
    centres = 2 * torch.randn(num_classes, 8, generator=source)
    rows = centres[true] + torch.randn(count, 8, generator=source)
    is_wrong = torch.rand(count, generator=source) < 0.3
    labels = torch.where(is_wrong, (true + 1) % (num_classes - 1), true)
    rows[-6:] = rows[:6]
    labels[20] = num_classes - 1
    return rows, labels


def start(rows: Tensor, labels: Tensor, num_classes: int = 5, **options: float) -> State:
    return agreement.start(rows, labels, num_classes, torch.Generator(), **options)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("neighbours", "power"), [(6, 2.0), (50, 1.0)])
def test_it_is_the_formula(seed: int, neighbours: int, power: float) -> None:
    rows, labels = noisy(seed)
    state = start(rows, labels, neighbours=neighbours, power=power)
    found = oracle.start(
        rows.double().numpy(), labels.tolist(), neighbours_=neighbours, power=power
    )
    weights, others, offered = found
    assert state.weights.tolist() == pytest.approx(weights, abs=1e-5)
    assert state.extras["other_weights"].tolist() == pytest.approx(offered, abs=1e-5)
    counts = [row for row, weight in enumerate(offered) if weight > 0.01]
    assert len(counts) > 5
    assert [int(state.extras["other"][row]) for row in counts] == [others[row] for row in counts]
    assert state.weights[20] == 1
    assert torch.equal(state.scores, state.weights)
    assert state.noise_rate.isnan()


@pytest.mark.parametrize(
    "left_out", [{"looks": 0}, {"looks": 1}, {"relative": False}, {"offers": False}]
)
def test_without_one_of_its_parts_it_is_the_formula_too(left_out: dict[str, int]) -> None:
    rows, labels = noisy(5)
    state = start(rows, labels, neighbours=6, **left_out)
    plain, names = rows.double().numpy(), labels.tolist()
    weights, _, offered = oracle.start(plain, names, neighbours_=6, power=2.0, **left_out)
    assert state.weights.tolist() == pytest.approx(weights, abs=1e-5)
    assert state.extras["other_weights"].tolist() == pytest.approx(offered, abs=1e-5)
    assert (
        weights != oracle.start(plain, names, neighbours_=6, power=2.0)[0] or "offers" in left_out
    )


def test_another_power_can_be_taken_afterwards() -> None:
    rows, labels = noisy(2)
    expected, found = start(rows, labels, power=1.0), agreement.raised(start(rows, labels), 0.5)
    # The other class is sought among rows as they are trusted, so it may differ in some rows.
    assert found.weights.tolist() == pytest.approx(expected.weights.tolist())
    offered = found.extras["other_weights"]
    assert bool((offered >= 0).all())
    assert bool((offered <= 1 - found.weights + 1e-6).all())
    again = agreement.raised(found, 2.0)
    torch.testing.assert_close(again.weights, start(rows, labels).weights)
    wanted = start(rows, labels).extras["other_weights"]
    torch.testing.assert_close(again.extras["other_weights"], wanted, atol=1e-5, rtol=1e-4)


def test_pairs_and_shares_are_those_of_loops() -> None:
    rows, labels = noisy(7)
    source = torch.Generator().manual_seed(7)
    near = torch.stack([torch.randperm(48, generator=source)[:9] for _ in range(48)])
    found = agreement.pair_covariance(rows, near, labels)
    plain, names = near.tolist(), labels.tolist()
    expected = oracle.pair_covariance(rows.double().numpy(), plain, names)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    first = first_copies(rows)
    size = torch.tensor(
        [len({f for f, y in zip(first.tolist(), names, strict=True) if y == own}) for own in names]
    )
    share = agreement.agreement(near, labels, size)
    assert share.tolist() == pytest.approx(oracle.agreement(plain, names, first.tolist()))
    weights = torch.rand(48, generator=source)
    other, ratio = agreement.elsewhere(near, labels, weights, 5)
    others, ratios = oracle.elsewhere(plain, names, weights.tolist())
    assert other.tolist() == others
    assert ratio.tolist() == pytest.approx(ratios, rel=1e-5)


def test_no_pair_that_agrees_leaves_the_covariance_0() -> None:
    rows, near = torch.randn(4, 3), torch.tensor([[1], [0], [3], [2]])
    assert not agreement.pair_covariance(rows, near, torch.arange(4)).any()


def test_four_rows_by_hand() -> None:
    """Class 0 has rows 0, 1, 2; each has k = 2. Row 0 sees labels 0, 0; row 1 sees 0, 1; row 2
    sees 1, 0: shares 1, 1/2, 1/2 and m = (1 + 1/4 + 1/4) / 2 = 3/4. Row 3 is alone: k = 1."""
    near = torch.tensor([[1, 2, 3], [0, 3, 2], [3, 0, 1], [2, 1, 0]])
    labels, size = torch.tensor([0, 0, 0, 1]), torch.tensor([3, 3, 3, 1])
    share = agreement.agreement(near, labels, size)
    assert share.tolist() == [1, 0.5, 0.5, 0]
    assert agreement.usual(share, torch.ones(4), labels, 2).tolist() == pytest.approx([0.75, 1e-3])


def test_the_names_of_classes_and_the_scale_of_features_change_nothing() -> None:
    rows, labels = noisy(3)
    expected = start(rows, labels)
    name = torch.tensor([3, 0, 4, 1, 2])
    found = start(rows, name[labels])
    torch.testing.assert_close(found.weights, expected.weights)
    torch.testing.assert_close(found.extras["other_weights"], expected.extras["other_weights"])
    counts = expected.extras["other_weights"] > 0.01
    assert torch.equal(found.extras["other"][counts], name[expected.extras["other"]][counts])
    torch.testing.assert_close(start(64 * rows, labels).weights, expected.weights)


def test_equal_rows_are_kept_and_offered_to_nobody() -> None:
    labels = torch.arange(12) % 4
    state = start(torch.ones(12, 6), labels)
    assert state.weights.tolist() == [1] * 12
    assert state.extras["other_weights"].tolist() == [0] * 12
    assert torch.equal(state.extras["other"], labels)


def test_copies_do_not_speak_for_each_other() -> None:
    """A class of one picture twice has nothing to compare; with a far row, nobody agrees in it."""
    rows, labels = noisy(5)
    rows[1], labels[0], labels[1] = rows[0], 5, 5
    assert start(rows, labels, 6).weights[:2].tolist() == [1, 1]
    labels[2] = 5
    assert start(rows, labels, 6).weights[:3].tolist() == [0, 0, 0]


class Photos(NamedTuple):
    """The training photos of the Grocery set as a source of labels."""

    rows: pa.Table
    values: NDArray[np.float16]
    manifest: str = "photos"


@pytest.mark.skipif(not GROCERY.exists(), reason="the Grocery photos are not beside this checkout")
@pytest.mark.parametrize(("noise", "least"), [("symmetric:0.5", 0.99), ("small-cluster:0.5", 0.97)])
def test_wrong_labels_of_photos_score_lowest(noise: str, least: float) -> None:
    """The area under the ROC curve, from ranks; a tie counts half."""
    table = pa.csv.read_csv(GROCERY / "manifest.csv")
    rows = table.append_column("id", table["path"])
    values = np.load(GROCERY / "reference_efficientnet_lite0.npy")[:, ::2]  # half: quicker
    roles = split(rows)
    found = training_labels(roles, Settings(noise=noise), Photos(rows, values))
    raw = torch.from_numpy(values[roles.train])
    features = fit("power:0.5,centre", lambda: [raw])(raw)
    scores = start(features, torch.from_numpy(found.used), len(found.classes)).scores
    assert found.is_wrong is not None
    wrong, right = scores[found.is_wrong], scores[~found.is_wrong]
    difference = right[:, None] - wrong[None, :]
    assert float(((difference > 0) + 0.5 * (difference == 0)).mean()) >= least
