"""Noise models on plain rows: where labels go, how many, and what cannot be done."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.labels.corruption import NoiseSpec


def apply(text, subject, seed=0):
    return NoiseSpec.parse(text).apply(subject, seed)


@pytest.fixture
def matrix(tmp_path, monkeypatch):
    """Saves a transition matrix of ten classes as matrix.csv."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(1).dirichlet(np.ones(10), size=10)
    np.savetxt("matrix.csv", values, delimiter=",")
    np.save("matrix.npy", values)
    return values


SPECS = [
    "symmetric:0.4",
    "pair-flip:0.4",
    "pair-flip:0.4,mode=independent",
    "superclass:0.4",
    "superclass:0.4,mode=independent",
    "small-cluster:0.4",
    "small-cluster:0.4,single_pass=true",
    "confusion:matrix.csv",
]


@pytest.mark.parametrize("text", SPECS)
def test_every_model_repeats_by_its_seed_and_leaves_its_input_alone(text, subject, matrix):
    everything = np.arange(len(subject.labels))
    labels, features = subject.labels.copy(), subject.features(everything)
    first, again, other = (apply(text, subject, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.classes == again.classes
    names = [np.array(each.classes)[each.labels] for each in (first, other)]
    assert (names[0] != names[1]).any()
    np.testing.assert_array_equal(subject.labels, labels)
    np.testing.assert_array_equal(subject.features(everything), features)


@pytest.mark.parametrize("text", SPECS)
def test_labels_are_numbers_into_the_classes(text, subject, matrix):
    found = apply(text, subject)
    assert found.labels.dtype == np.int64
    assert 0 <= found.labels.min() <= found.labels.max() < len(found.classes)
    assert 0 < found.nominal < 1


def test_pair_flip_goes_to_the_next_class_and_from_the_last_to_the_first(subject):
    noisy = apply("pair-flip:1", subject).labels
    assert noisy.tolist() == [(label + 1) % 10 for label in subject.labels]


def test_superclass_noise_stays_within_the_superlabel_and_hits_all_siblings(make_subject):
    subject = make_subject([300] * 4)  # class 3 is alone in its superlabel
    noisy = apply("superclass:0.5", subject).labels
    flips = Counter(zip(subject.labels.tolist(), noisy.tolist(), strict=True))
    assert {pair for pair in flips if pair[0] != pair[1]} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }
    assert flips[3, 3] == 300
    assert sum(count for (a, b), count in flips.items() if a != b) == 450  # half of the others
    to_next = sum(flips[a, (a + 1) % 3] for a in range(3))
    assert abs(to_next - 225) < 4 * (450 / 4) ** 0.5


def test_superclass_noise_does_not_depend_on_how_superlabels_are_spread(make_subject):
    subject = make_subject([60] * 6)
    spread = [f"super {label % 2}" for label in subject.labels]
    noisy = apply("superclass:1", subject._replace(superlabels=tuple(spread))).labels
    assert (noisy != subject.labels).all()
    assert (noisy % 2 == subject.labels % 2).all()


def test_confusion_noise_follows_the_matrix(make_subject, matrix):
    subject = make_subject([2000] * 10)
    found = apply("confusion:matrix.csv", subject)
    counts = np.zeros((10, 10))
    for before, after in zip(subject.labels, found.labels, strict=True):
        counts[before, after] += 1
    deviation = np.sqrt(2000 * matrix * (1 - matrix))
    assert (abs(counts - 2000 * matrix) < 5 * deviation + 1).all()
    assert found.nominal == pytest.approx(1 - matrix.diagonal().mean())
    np.testing.assert_array_equal(apply("confusion:matrix.npy", subject).labels, found.labels)


def test_the_identity_matrix_changes_nothing(subject, tmp_path):
    np.save(tmp_path / "same.npy", np.eye(10, dtype=int))
    found = apply(f"confusion:{tmp_path / 'same.npy'}", subject)
    np.testing.assert_array_equal(found.labels, subject.labels)
    assert found.nominal == 0


MATRICES = {
    "9 x 10: expected 10 x 10": np.eye(10)[:9],
    "the shape 10: expected 10 x 10": np.full(10, 0.1),
    "row 3 of matrix.npy sums to 1.5: expected 1": np.eye(10)
    + np.diag([0, 0, 0.5] + [0] * 7)
    - np.eye(10) * np.array([0, 0, 0.75] + [0] * 7)
    + 0.75 * np.eye(10)[[9, 9, 3, 9, 9, 9, 9, 9, 9, 9]] * np.eye(10)[:, [2]],
    "a number outside 0 to 1": 2 * np.eye(10) - np.eye(10)[::-1],
    "outside 0 to 1: expected probabilities": np.full((10, 10), np.nan),
    "give a file of numbers": np.array([["a"] * 10] * 10),
}


@pytest.mark.parametrize("said", MATRICES)
def test_a_matrix_that_does_not_fit_is_refused(said, subject, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("matrix.npy", MATRICES[said])
    with pytest.raises(InputError, match=said):
        apply("confusion:matrix.npy", subject)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("words.csv", "a,b\nc,d\n", "cannot read the matrix words.csv"),
        ("ragged.csv", "1,0\n1\n", "cannot read the matrix ragged.csv"),
        ("matrix.txt", "1,0\n0,1\n", "is no transition matrix: expected a .npy or .csv file"),
        ("objects.npy", "no array", "cannot read the matrix objects.npy"),
    ],
)
def test_a_file_that_holds_no_matrix_is_refused(name, text, said, subject, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        apply(f"confusion:{name}", subject)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("superlabels", "said"),
    [
        (lambda labels: None, "the store has none: add a superlabel column"),
        (lambda labels: tuple(f"s{label}" for label in labels), "each superlabel has one class"),
        (lambda labels: tuple(f"s{row % 2}" for row in range(len(labels))), "several superlabels"),
    ],
)
def test_superclass_noise_needs_superlabels_with_siblings(superlabels, said, subject):
    with pytest.raises(InputError, match=said):
        apply("superclass:0.3", subject._replace(superlabels=superlabels(subject.labels)))
