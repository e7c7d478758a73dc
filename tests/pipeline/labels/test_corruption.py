"""Injected label noise: its rate, its seed, and the specs that name it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache.errors import InputError
from pipeline.labels.corruption import NoiseSpec
from pipeline.noise._subject import Subject

LABELS = np.random.default_rng(0).integers(0, 7, size=1003)


def corrupt(text, labels=LABELS, num_classes=7, seed=0):
    subject = Subject(labels, tuple(map(str, range(num_classes))))
    found = NoiseSpec.parse(text).apply(subject, seed)
    assert found.classes == subject.classes
    return found.labels


@pytest.mark.parametrize("noise", ["symmetric", "pair-flip"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.333, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_noise_flips_the_nominal_number_of_rows_within_one(noise, rate, seed):
    noisy = corrupt(f"{noise}:{rate}", seed=seed)
    assert abs((noisy != LABELS).sum() - rate * len(LABELS)) <= 1
    assert noisy.dtype == np.int64
    assert set(noisy) <= set(range(7))


@pytest.mark.parametrize("noise", ["symmetric", "pair-flip"])
def test_independent_noise_flips_a_binomial_number_of_rows(noise):
    text = f"{noise}:0.3,mode=independent"
    flipped = np.array([(corrupt(text, seed=seed) != LABELS).sum() for seed in range(200)])
    mean, deviation = 0.3 * len(LABELS), (0.3 * 0.7 * len(LABELS)) ** 0.5  # 300.9 and 14.5
    # The mean of 200 draws has a deviation of 14.5 / sqrt(200) = 1.03, their deviation one of 0.73.
    assert abs(flipped.mean() - mean) < 4 * deviation / 200**0.5
    assert abs(flipped.std() - deviation) < 4 * deviation / 400**0.5


def test_a_flipped_label_is_any_other_class_equally_often():
    labels = np.zeros(20_000, dtype=np.int64)
    counts = np.bincount(corrupt("symmetric:1", labels, 5), minlength=5)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 5000) < 4 * (20_000 * 0.25 * 0.75) ** 0.5)


@pytest.mark.parametrize("mode", ["exact", "independent"])
def test_symmetric_noise_draws_as_it_always_has(mode):
    # Measured tables and records of earlier runs depend on these very draws.
    generator = np.random.default_rng([3, 0x6E6F697365])
    if mode == "exact":
        flipped = generator.permutation(1003) < round(0.4 * 1003)
    else:
        flipped = generator.random(1003) < 0.4
    expected = np.where(flipped, (LABELS + generator.integers(1, 7, size=1003)) % 7, LABELS)
    found = corrupt(f"symmetric:0.4,mode={mode}", seed=3)
    np.testing.assert_array_equal(found, expected)


def test_the_same_seed_gives_the_same_labels_and_another_seed_others():
    first = corrupt("symmetric:0.5", seed=3)
    np.testing.assert_array_equal(first, corrupt("symmetric:0.5", seed=3))
    assert (first != corrupt("symmetric:0.5", seed=4)).any()


def test_noise_neither_reads_nor_moves_the_global_generators():
    first = corrupt("symmetric:0.5", seed=3)
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    np.testing.assert_array_equal(corrupt("symmetric:0.5", seed=3), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_noise_is_a_stream_of_its_own_beside_other_uses_of_the_seed():
    flipped = corrupt("symmetric:0.5", seed=3) != LABELS
    plain = np.random.default_rng(3).permutation(len(LABELS)) < round(0.5 * len(LABELS))
    assert 0.4 < (flipped == plain).mean() < 0.6


def test_the_given_labels_stay_as_they_are():
    labels = LABELS.copy()
    corrupt("symmetric:0.5", labels)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "symmetric:0.4",
        "symmetric:0.4,mode=independent",
        "small-cluster:0.25,single_pass=true",
        "confusion:a folder/matrix, of mine.csv",
        "file:runs/a=b/list, new.csv,numbering=one,key=3",
    ],
)
def test_a_spec_is_written_as_it_was_given(text):
    spec = NoiseSpec.parse(text)
    assert str(spec) == text
    assert NoiseSpec.parse(str(spec)) == spec


def test_only_a_file_s_spec_has_no_rate():
    assert NoiseSpec.parse("pair-flip:0.4").rate == 0.4
    assert NoiseSpec.parse("file:list.csv").rate is None


def test_a_path_may_hold_commas_and_signs():
    found = NoiseSpec.parse("file:runs/a=b/list, new.csv,numbering=one")
    assert found.options == {"path": "runs/a=b/list, new.csv", "numbering": "one"}
    assert NoiseSpec.parse("file:2024").options == {"path": "2024"}


def test_the_rate_can_be_named():
    assert NoiseSpec.parse("symmetric:rate=0.4") == NoiseSpec.parse("symmetric:0.4")


@pytest.mark.parametrize(
    "text",
    ["", "symmetric", "symmetric:", "symmetric:-0.1", "symmetric:2", "file:", "small-cluster:1"],
)
def test_a_spec_without_a_usable_rate_or_path_is_refused(text):
    with pytest.raises(InputError):
        NoiseSpec.parse(text)
