"""The published form of PRISM against plain loops, batch after batch."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.program import memory as banks
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory
from pipeline.selection import prism_queue
from pipeline.selection._state import State
from pipeline.selection.prism_queue import clean_probability

from . import prism as oracle
from .examples import at_angles, unit_rows

near = pytest.approx
NAN = float("nan")
both_similarities = pytest.mark.parametrize("similarity", ["centres", "average"])
both_thresholds = pytest.mark.parametrize("threshold", ["smooth", "batch"])


def bank_at(degrees: list[float], labels: list[int]) -> Memory:
    weights = torch.ones(len(labels), dtype=torch.float64)
    return banks.full(at_angles(degrees), torch.tensor(labels), weights)


def batch_of(embeddings: Tensor, labels: Tensor, bank: Memory, at: int = 0) -> Batch:
    index = torch.arange(at, at + len(labels))
    return Batch(embeddings, labels, index, torch.ones(len(labels), dtype=torch.float64), bank)


def to_float32(rows: Batch | Memory) -> Batch | Memory:
    """The same rows in single precision."""
    return rows._replace(embeddings=rows.embeddings.float(), weights=rows.weights.float())


def start(num_rows: int, noise_rate: float | str, window: int, num_classes: int = 2) -> State:
    labels = torch.arange(num_rows) % num_classes
    generator = torch.Generator()
    return prism_queue.start(
        labels[:, None].double(),
        labels,
        num_classes,
        generator,
        noise_rate=noise_rate,
        window=window,
    )


def window_of(state: State) -> list[float]:
    thresholds = state.extras["thresholds"]
    return thresholds[~thresholds.isnan()].tolist()


def batch_with(p_clean: list[float], at: int = 0) -> Batch:
    """Rows whose P are the given ones: label 0, bank class 0 at 0 degrees and class 1 at 180.

    The row at angle a has T = cos a and -cos a, so P = 1 / (1 + exp(-2 cos a)).
    P = 1 stands for a row of class 2, which the bank lacks.
    """
    p = torch.tensor(p_clean, dtype=torch.float64)
    cosine = torch.where(p < 1, (p.clamp_max(0.85) / (1 - p.clamp_max(0.85))).log() / 2, 0.0)
    embeddings = torch.stack([cosine, (1 - cosine**2).sqrt()], dim=1)
    labels = torch.where(p < 1, 0, 2)
    return batch_of(embeddings, labels, bank_at([0, 180], [0, 1]), at)


@both_similarities
def test_six_rows_by_hand(similarity):
    """Bank: class 0 at 0 and 90 degrees, class 1 at 180. Means (0.5, 0.5), (-1, 0): not unit norm.

    A row at 0 degrees: T = 0.5 and -1: label 0 has P = 1 / (1 + e^-1.5), label 1 the rest. At 90:
    0.5 and 0: 1 / (1 + e^-0.5). At 180: -0.5 and 1: label 0 has 1 / (1 + e^1.5). Class 2 is not in
    the bank: P = 1.
    """
    embeddings = at_angles([0, 0, 90, 90, 180, 180])
    labels = torch.tensor([0, 1, 0, 1, 0, 2])
    bank = bank_at([0, 90, 180], [0, 0, 1])
    p = clean_probability(batch_of(embeddings, labels, bank), bank, 3, similarity=similarity)
    strong, weak = 1 / (1 + exp(-1.5)), 1 / (1 + exp(-0.5))
    assert p.tolist() == near([strong, 1 - strong, weak, 1 - weak, 1 - strong, 1], abs=1e-12)


@both_similarities
@pytest.mark.parametrize("seed", range(4))
def test_the_probability_equals_the_mean_cosine_to_every_stored_row(seed, similarity):
    """Class means give what the average over the queue's rows gives; empty slots take no part."""
    generator = torch.Generator().manual_seed(seed)
    bank = Memory(
        embeddings=unit_rows(30, 4, generator),
        labels=torch.randint(4, (30,), generator=generator),
        rows=torch.arange(30),
        weights=(torch.rand(30, generator=generator) > 0.3).double(),
        pointer=torch.tensor(0),
    )
    labels = torch.randint(6, (12,), generator=generator)
    batch = batch_of(unit_rows(12, 4, generator), labels, bank)
    stored = [
        (np.asarray(row), int(label))
        for row, label, weight in zip(bank.embeddings, bank.labels, bank.weights, strict=True)
        if weight > 0
    ]
    expected = [
        oracle.queue_probability(np.asarray(x), int(label), stored)
        for x, label in zip(batch.embeddings, labels, strict=True)
    ]
    p = clean_probability(batch, bank, 6, similarity=similarity)
    np.testing.assert_allclose(p, expected, rtol=0, atol=1e-10)
    assert (p == 1).sum() == (labels >= 4).sum()
    single = clean_probability(to_float32(batch), to_float32(bank), 6, similarity=similarity)
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("threshold", ["smooth", "batch"])
def test_both_similarities_decide_alike_batch_after_batch(threshold):
    generator = torch.Generator().manual_seed(0)
    states = {how: start(8, 0.25, 5, 3) for how in ("centres", "average")}
    for _ in range(12):
        bank = bank_at((360 * torch.rand(9, generator=generator)).tolist(), [0, 1, 2] * 3)
        embeddings = unit_rows(8, 2, generator)
        given = batch_of(embeddings, torch.randint(3, (8,), generator=generator), bank)
        weights = []
        for how, state in states.items():
            batch, states[how] = prism_queue.select(
                state, given, threshold=threshold, similarity=how
            )
            weights.append(batch.weights)
        assert torch.equal(*weights)
        torch.testing.assert_close(states["centres"].scores, states["average"].scores)


def test_the_probabilities_of_a_row_over_all_stored_classes_sum_to_one():
    embeddings = at_angles([25] * 3)
    bank = bank_at([0, 90, 180, 200], [0, 0, 1, 2])
    batch = batch_of(embeddings, torch.arange(3), bank)
    assert clean_probability(batch, bank, 3).sum().item() == near(1, abs=1e-12)


@both_thresholds
@pytest.mark.parametrize("noise_rate", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("has_ties", [False, True])
def test_a_first_batch_keeps_all_but_int_of_rate_times_rows(noise_rate, threshold, has_ties):
    """Also where every row has one P: a batch without spread is not lost as a whole."""
    p_clean = [0.4] * 8 if has_ties else [0.30, 0.71, 0.45, 0.62, 0.55, 0.20, 0.80, 0.50]
    state = start(8, noise_rate, 5, 3)
    batch, _ = prism_queue.select(state, batch_with(p_clean), threshold=threshold)
    assert (batch.weights == 0).sum() == oracle.num_dropped(noise_rate, 8)


def test_the_threshold_of_a_batch_alone_drops_the_same_number_from_every_batch():
    """R = 0.5: half of each batch goes, however the batch before looked."""
    state = start(8, 0.5, 5, 3)
    for p_clean in ([0.6, 0.7, 0.8, 0.75], [0.2, 0.3, 0.4, 0.35], [0.8, 0.82, 0.84, 0.83]):
        batch, state = prism_queue.select(state, batch_with(p_clean), threshold="batch")
        assert batch.weights.tolist() == [0, 0, 1, 1]


def test_in_the_warm_up_every_row_is_kept_and_no_threshold_is_noted():
    state = start(8, 0.5, 5, 3)
    for step in range(4):
        given = batch_with([0.3, 0.75], at=2 * step)
        batch, state = prism_queue.select(state, given, warm_up=3)
        assert batch.weights.tolist() == ([1, 1] if step < 3 else [0, 1])
        assert window_of(state) == ([] if step < 3 else near([0.3]))
        empty, state = prism_queue.select(state, given._replace(weights=torch.zeros(2)), warm_up=3)
        assert not empty.weights.any()  # and a step without rows does not count
    assert state.scores.tolist() == near([0.3, 0.75] * 4)
    assert state.weights.tolist() == [1] * 6 + [0, 1]


def test_a_row_that_is_not_finite_is_dropped_and_decides_nothing():
    given = batch_with([0.3, 0.75, 0.4, 0.6])
    embeddings = given.embeddings.clone()
    embeddings[0] = NAN
    batch, state = prism_queue.select(
        start(8, 0.5, 5, 3), given._replace(embeddings=embeddings)
    )  # int(0.5 * 3) = 1
    assert batch.weights.tolist() == [0, 1, 0, 1]
    assert window_of(state) == near([0.4])


def test_in_a_bank_of_one_class_no_label_can_be_doubted():
    bank = bank_at([0, 40, 80], [0, 0, 0])
    given = batch_of(at_angles([0, 60, 200]), torch.tensor([0, 0, 0]), bank)
    batch, state = prism_queue.select(start(3, 0.5, 5, 1), given)
    assert batch.weights.tolist() == [1, 1, 1]
    assert window_of(state) == []


def test_the_noise_rate_is_estimated_from_the_features_when_asked_for():
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(600) % 6
    features = 3 * unit_rows(6, 16, generator)[true]
    features = features + 0.4 * torch.randn(600, 16, generator=generator, dtype=torch.float64)
    shift = torch.randint(1, 6, (600,), generator=generator)
    labels = torch.where(torch.arange(600) < 120, (true + shift) % 6, true)
    state = prism_queue.start(features, labels, 6, generator, noise_rate="auto")
    assert state.noise_rate.item() == near(0.2, abs=0.02)
    one = prism_queue.start(features, 0 * labels, 1, generator, noise_rate="auto")
    assert one.noise_rate == 0


def test_the_window_holds_the_last_thresholds_this_batch_included():
    """R = 0.5 of two rows: Q is the lower P. Window 2: after Q = 0.3, 0.5, 0.7 the mean is 0.6, so
    the third batch keeps its 0.8 and drops its 0.7; 0.59 would go, 0.61 stay."""
    state = start(8, 0.5, 2, 3)
    for p_clean in ([0.3, 0.75], [0.5, 0.75], [0.7, 0.8]):
        batch, state = prism_queue.select(state, batch_with(p_clean))
    assert window_of(state) == near([0.5, 0.7])
    assert batch.weights.tolist() == [1, 1]  # 0.7 lies above the smoothed 0.6
    batch, state = prism_queue.select(state, batch_with([0.59, 0.71]))
    assert window_of(state) == near([0.7, 0.59])  # mean 0.645
    assert batch.weights.tolist() == [0, 1]


def test_a_threshold_of_unknown_classes_does_not_enter_the_window():
    """Both lowest rows are unknown (P = 1): Q = 1 is left out and the rows are kept."""
    state = start(8, 0.5, 3, 3)
    _, state = prism_queue.select(state, batch_with([0.4, 0.8]))
    batch, state = prism_queue.select(state, batch_with([1.0, 1.0]))
    assert window_of(state) == near([0.4])
    assert batch.weights.tolist() == [1, 1]


def test_a_batch_that_would_keep_nothing_falls_back_to_its_own_threshold():
    """After Q = 0.8 the mean (0.8 + 0.3) / 2 = 0.55 lies above 0.3 and 0.5: the batch's own Q = 0.3
    decides, and the window starts anew from it."""
    state = start(8, 0.5, 4, 3)
    _, state = prism_queue.select(state, batch_with([0.8, 0.84]))
    batch, state = prism_queue.select(state, batch_with([0.3, 0.5]))
    assert batch.weights.tolist() == [0, 1]
    assert window_of(state) == near([0.3])


@pytest.mark.parametrize("p_clean", [[0.3], [1.0], [0.3, 0.4, 0.5]])
def test_a_batch_too_small_to_drop_a_row_keeps_all_and_leaves_the_window(p_clean):
    """int(0.25 * 3) = 0. Also after a high threshold, and the window stays finite."""
    state = start(8, 0.25, 4, 3)
    _, state = prism_queue.select(state, batch_with([0.8, 0.81, 0.82, 0.83]))
    batch, state = prism_queue.select(state, batch_with(p_clean))
    assert batch.weights.tolist() == [1] * len(p_clean)
    assert window_of(state) == near([0.8])


def test_a_batch_of_absent_rows_changes_nothing():
    state = start(8, 0.5, 4, 3)
    _, before = prism_queue.select(state, batch_with([0.6, 0.8]))
    batch = batch_with([0.3, 0.4], at=2)
    batch, after = prism_queue.select(before, batch._replace(weights=torch.zeros(2)))
    assert batch.weights.tolist() == [0, 0]
    assert window_of(after) == window_of(before)
    assert torch.equal(after.scores, before.scores)
    assert torch.equal(after.weights, before.weights)


@both_thresholds
@pytest.mark.parametrize("noise_rate", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("window", [1, 3, 30])
def test_many_batches_equal_the_loops(noise_rate, window, threshold):
    """Batches of 2 to 8 present rows among 8 places, unknown rows and equal P among them."""
    generator = torch.Generator().manual_seed(window)
    state = start(8, noise_rate, window, 3)
    loops = oracle.Queue(noise_rate, window, is_smooth=threshold == "smooth")
    for _ in range(25):
        p = torch.rand(8, generator=generator) * 0.7 + 0.14 * torch.rand(1, generator=generator)
        p = torch.where(torch.rand(8, generator=generator) < 0.2, 1.0, p.clamp_min(0.16))
        given = batch_with(p.tolist())
        present = torch.arange(8) < int(torch.randint(2, 9, (1,), generator=generator))
        seen = given._replace(weights=present.double())
        batch, state = prism_queue.select(state, seen, threshold=threshold)
        p_clean = clean_probability(given, given.memory, 3)[present].tolist()
        assert batch.weights[present].bool().tolist() == loops.decide(p_clean)
        assert not batch.weights[~present].any()
        assert window_of(state) == near(loops.window, abs=1e-12)


def test_the_state_notes_the_latest_score_and_decision_of_each_row():
    state = start(6, 0.5, 3, 3)
    _, state = prism_queue.select(state, batch_with([0.3, 0.75], at=2))
    assert state.scores.tolist() == near([1, 1, 0.3, 0.75, 1, 1])
    assert state.weights.tolist() == [1, 1, 0, 1, 1, 1]


def test_without_a_memory_every_row_is_kept():
    state = start(2, 0.5, 3, 3)
    batch = batch_with([0.3, 0.8])._replace(memory=None)
    selected, same = prism_queue.select(state, batch)
    assert selected is batch
    assert same is state
