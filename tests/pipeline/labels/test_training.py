"""Training labels: their numbers, what is known to be wrong, and the true classes behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.choices.settings import Settings
from pipeline.labels.training import training_labels, true_classes
from pipeline.training.protocol import split


@pytest.fixture
def given(make_store, tmp_path, monkeypatch):
    """Features and roles of a store with 20 wrong labels among 192 training rows."""
    monkeypatch.chdir(tmp_path)
    true = [str(row % 12) for row in range(288)]
    labels = ["0" if row < 20 else name for row, name in enumerate(true)]
    store = make_store(tmp_path / "s.zarr", labels, true_labels=true, drawn_for=true)
    features = store.read()
    return features, split(features.rows), true[:192], labels[:192]


NOISES = [None, "symmetric:0.3", "pair-flip:0.3", "small-cluster:0.4", "file:list.csv"]


@pytest.mark.parametrize("noise", NOISES)
def test_wrong_is_what_is_not_the_true_label_whatever_the_noise(noise, given):
    features, roles, true, labels = given
    if noise == "file:list.csv":
        write_list(features, roles, labels)
    found = training_labels(roles, Settings(noise=noise), features)
    names = [found.classes[number] for number in found.used]
    assert found.is_wrong.tolist() == [a != b for a, b in zip(names, true, strict=True)]
    if noise is not None:
        changed = [a != b for a, b in zip(names, labels, strict=True)]
        assert found.injected == np.mean(changed) > 0


@pytest.mark.parametrize("noise", NOISES)
def test_true_classes_are_numbered_as_the_labels_and_lost_ones_behind(noise, given):
    features, roles, true, labels = given
    if noise == "file:list.csv":
        write_list(features, roles, labels)
    found = training_labels(roles, Settings(noise=noise), features)
    numbers = true_classes(roles, found)
    place = {name: number for number, name in enumerate(found.classes)}
    for name, number in zip(true, numbers.tolist(), strict=True):
        if name in place:
            assert number == place[name]
        else:
            assert number >= len(found.classes)
    assert (numbers != found.used).tolist() == found.is_wrong.tolist()
    assert len(set(numbers.tolist())) == 12


def write_list(features, roles, labels):
    """A list in which class 3 is gone, and five rows have a label that no class has."""
    names = ["strange" if row in range(100, 105) else name for row, name in enumerate(labels)]
    names = ["4" if name == "3" else name for name in names]
    ids = features.rows["id"].take(roles.train).to_pylist()
    lines = [f"{row_id},{name}\n" for row_id, name in zip(ids, names, strict=True)]
    Path("list.csv").write_text("id,label\n" + "".join(lines))


def test_noise_has_a_seed_of_its_own(given):
    features, roles, _, _ = given
    noise = "small-cluster:0.4"
    draws = [
        training_labels(roles, Settings(noise=noise, seed=seed, noise_seed=own), features)
        for seed, own in ((0, None), (0, 1), (1, None), (1, 0))
    ]
    names = [[each.classes[number] for number in each.used] for each in draws]
    assert names[0] == names[3] != names[1] == names[2]
