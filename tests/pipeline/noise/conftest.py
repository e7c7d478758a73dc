"""Training rows for noise models: classes of two superlabels, Gaussian features, nested paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pipeline.noise._subject import Subject


def make_subject(sizes: Sequence[int], *, names: Sequence[str] | None = None) -> Subject:
    """Rows of classes of the given sizes, in a fixed random order; neighbouring classes overlap."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    classes = tuple(names or (f"class {number:03}" for number in range(len(sizes))))
    centres = generator.standard_normal((len(sizes), 16)) / 2
    paths = tuple(
        f"images/{classes[label]}/a, b {row}.jpg" for row, label in enumerate(labels.tolist())
    )
    values = (centres[labels] + generator.standard_normal((len(labels), 16))).astype("f4")
    return Subject(
        labels=labels,
        classes=classes,
        ids=paths,
        paths=paths,
        superlabels=tuple(f"super {label // 3}" for label in labels),
        features=values.__getitem__,
        manifest="0" * 64,
    )


@pytest.fixture(name="make_subject")
def make_subject_() -> Callable[..., Subject]:
    """The function that makes training rows; see above."""
    return make_subject


@pytest.fixture
def subject() -> Subject:
    """Ten classes of 8 to 17 rows; three superlabels with siblings, the last class is alone."""
    return make_subject(range(8, 18))
