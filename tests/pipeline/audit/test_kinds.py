"""Images of no class, and classes that cannot be told apart, on features made for it."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.audit import kinds
from pipeline.audit.judging import Judgement, judge
from pipeline.measures.detection import detection

CLASSES, EACH, WIDTH = 16, 20, 48


def clusters(seed: int = 0, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features in one cluster a class; those of classes 0 and 1 lie on each other if apart is 0."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    centres[1] = centres[0] + apart * (centres[1] - centres[0])
    labels = torch.arange(CLASSES * EACH) % CLASSES
    noise = torch.randn(CLASSES * EACH, WIDTH, generator=generator)
    return centres[labels] + 0.6 * noise, labels


def pairs_of(found: Judgement, labels: Tensor) -> list[kinds.Pair]:
    torn = kinds.is_torn(found.own_share, found.other_share)
    return kinds.confused_pairs(torn, labels, found.suggested, CLASSES)


def mislabelled(labels: Tensor) -> tuple[Tensor, Tensor]:
    """A fifth of the labels replaced by any other."""
    generator = torch.Generator().manual_seed(1)
    is_wrong = torch.rand(len(labels), generator=generator) < 0.2
    step = torch.randint(1, CLASSES, (len(labels),), generator=generator)
    return torch.where(is_wrong, (labels + step) % CLASSES, labels), is_wrong


def test_two_names_of_one_thing_are_a_confused_pair() -> None:
    features, labels = clusters(apart=0.0)
    (pair,) = pairs_of(judge(features, labels, CLASSES), labels)
    assert (pair.a, pair.b) == (0, 1)
    assert pair.share > 0.3


def test_noise_alone_makes_no_confused_pair() -> None:
    features, true = clusters()
    labels, is_wrong = mislabelled(true)
    found = judge(features, labels, CLASSES)
    assert pairs_of(found, labels) == []
    assert detection(-found.p_wrong.numpy(), is_wrong.numpy(), is_wrong.numpy()).auc > 0.99
    assert (found.suggested[is_wrong] == true[is_wrong]).float().mean() > 0.95


def test_images_of_no_class_are_marked_and_mislabelled_ones_are_not() -> None:
    features, true = clusters()
    labels, _ = mislabelled(true)
    strange = torch.arange(5)
    features[strange] = 1.2 * torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(2))
    found = judge(features, labels, CLASSES)
    far = kinds.is_out_of_set(found.rows, labels, found.near, CLASSES)
    assert far[strange].sum() >= 4
    assert far.sum() <= far[strange].sum() + 3
    assert (found.other_share > found.own_share)[strange].sum() >= 3


def test_a_row_is_torn_between_two_classes_of_alike_shares() -> None:
    own, other = torch.tensor([0.5, 0.9, 0.0, 0.2]), torch.tensor([0.4, 0.1, 0.0, 0.8])
    assert kinds.is_torn(own, other).tolist() == [True, False, False, True]


def test_one_torn_row_or_one_direction_makes_no_pair() -> None:
    labels = torch.tensor([0] * 50 + [1] * 50 + [2] * 50)
    suggested = (labels + 1) % 3
    torn = torch.zeros(150, dtype=torch.bool)
    torn[:20] = True  # twenty rows of 0 look like 1, none of 1 like 0
    assert kinds.confused_pairs(torn, labels, suggested, 3) == []
    suggested[50:70] = 0
    torn[50:70] = True
    (pair,) = kinds.confused_pairs(torn, labels, suggested, 3)
    assert pair == kinds.Pair(0, 1, 20, 20, 0.4)
