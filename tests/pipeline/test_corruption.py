"""Injected label noise: its rate, its seed, and the specs that name it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache.errors import InputError
from pipeline.corruption import NoiseSpec

LABELS = np.random.default_rng(0).integers(0, 7, size=1003)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.333, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_noise_flips_the_nominal_number_of_rows_within_one(rate, seed):
    noisy = NoiseSpec.parse(f"symmetric:{rate}").apply(LABELS, 7, seed)
    assert abs((noisy != LABELS).sum() - rate * len(LABELS)) <= 1
    assert noisy.dtype == np.int64
    assert set(noisy) <= set(range(7))


def test_independent_noise_flips_a_binomial_number_of_rows():
    spec = NoiseSpec.parse("symmetric:0.3,mode=independent")
    flipped = np.array([(spec.apply(LABELS, 7, seed) != LABELS).sum() for seed in range(200)])
    mean, deviation = 0.3 * len(LABELS), (0.3 * 0.7 * len(LABELS)) ** 0.5  # 300.9 and 14.5
    # The mean of 200 draws has a deviation of 14.5 / sqrt(200) = 1.03, their deviation one of 0.73.
    assert abs(flipped.mean() - mean) < 4 * deviation / 200**0.5
    assert abs(flipped.std() - deviation) < 4 * deviation / 400**0.5


def test_a_flipped_label_is_any_other_class_equally_often():
    labels = np.zeros(20_000, dtype=np.int64)
    counts = np.bincount(NoiseSpec.parse("symmetric:1").apply(labels, 5, 0), minlength=5)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 5000) < 4 * (20_000 * 0.25 * 0.75) ** 0.5)


def test_the_same_seed_gives_the_same_labels_and_another_seed_others():
    spec = NoiseSpec.parse("symmetric:0.5")
    np.testing.assert_array_equal(spec.apply(LABELS, 7, 3), spec.apply(LABELS, 7, 3))
    assert (spec.apply(LABELS, 7, 3) != spec.apply(LABELS, 7, 4)).any()


def test_noise_neither_reads_nor_moves_the_global_generators():
    spec = NoiseSpec.parse("symmetric:0.5")
    first = spec.apply(LABELS, 7, 3)
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    np.testing.assert_array_equal(spec.apply(LABELS, 7, 3), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_noise_is_a_stream_of_its_own_beside_other_uses_of_the_seed():
    flipped = NoiseSpec.parse("symmetric:0.5").apply(LABELS, 7, 3) != LABELS
    plain = np.random.default_rng(3).permutation(len(LABELS)) < round(0.5 * len(LABELS))
    assert 0.4 < (flipped == plain).mean() < 0.6


def test_the_given_labels_stay_as_they_are():
    labels = LABELS.copy()
    NoiseSpec.parse("symmetric:0.5").apply(labels, 7, 0)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("text", ["symmetric:0.4", "symmetric:0.4,mode=independent"])
def test_a_spec_is_written_as_it_was_given(text):
    assert str(NoiseSpec.parse(text)) == text
    assert NoiseSpec.parse(text).rate == 0.4


def test_the_rate_can_be_named():
    assert NoiseSpec.parse("symmetric:rate=0.4") == NoiseSpec.parse("symmetric:0.4")


@pytest.mark.parametrize("text", ["", "symmetric", "symmetric:", "symmetric:-0.1", "symmetric:2"])
def test_a_spec_without_a_usable_rate_is_refused(text):
    with pytest.raises(InputError):
        NoiseSpec.parse(text)
