"""Co-teaching and Co-teaching+: schedule, exchange and what the published code gets wrong."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.choices.recipes import recipe
from pipeline.losses import softmax
from pipeline.program.batch import Batch
from pipeline.selection import _small_loss, co_teaching, co_teaching_plus
from pipeline.selection._state import State

from . import classifiers as oracle

SEEDS = range(4)
BOTH = pytest.mark.parametrize("module", [co_teaching, co_teaching_plus])
near = pytest.approx
LATE = 30  # an epoch after every ramp and warm-up
NOT_USED = torch.Generator()


def begin(module: ModuleType, noise_rate: float, rows: int = 40, epoch: int = LATE) -> State:
    """A state of `rows` rows in the given epoch."""
    labels = torch.arange(rows) % 5
    state = module.start(torch.randn(rows, 3), labels, 5, NOT_USED, noise_rate=noise_rate)
    return module.turn(state, epoch)


def example(seed: int, rows: int = 15, classes: int = 5) -> tuple[Batch, Tensor]:
    """A batch of rows 0.. with fractional, whole and zero weights, and logits (2, B, C) float64."""
    generator = torch.Generator().manual_seed(seed)
    weights = (1.6 * torch.rand(rows, dtype=torch.float64, generator=generator) - 0.3).clamp(0, 1)
    labels = torch.randint(classes, (rows,), generator=generator)
    embeddings = functional.normalize(torch.randn(rows, 3, dtype=torch.float64), dim=1)
    logits = 3 * torch.randn(2, rows, classes, dtype=torch.float64, generator=generator)
    logits[0, :4] = logits[0, 0]  # ties
    return Batch(embeddings, labels, torch.arange(rows), weights), logits


def agreeing(logits: Tensor) -> Tensor:
    """Both heads rank classes alike, with different losses."""
    return torch.stack([logits[0], 2 * logits[0]])


@BOTH
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("ramp", [0, 1, 2, 10])
def test_the_share_that_is_dropped_follows_the_published_schedule(module, exponent, ramp):
    state = begin(module, 0.4)
    expected = oracle.schedule(0.4, exponent, ramp, 15)
    for epoch, rate in enumerate(expected):
        turned = module.turn(state, epoch, ramp_epochs=ramp, exponent=exponent)
        assert turned.extras["forget_rate"].item() == near(rate, abs=1e-6)


def test_the_share_jumps_after_the_ramp_where_the_exponent_is_not_1():
    """tau = 0.4, c = 2, T_k = 10: 0, ..., 0.16 in epoch 9, then 0.4."""
    rates = [float(_small_loss.forget_rate(torch.tensor(0.4), e, 10, 2.0)) for e in (0, 9, 10)]
    assert rates == near([0, 0.16, 0.4])


def test_picks_by_hand():
    """Losses 3 1 2 1 5, the last row no candidate: by loss, then by position, rows 1 3 2 0."""
    losses = torch.tensor([3.0, 1, 2, 1, 0.5])
    candidates = torch.tensor([True, True, True, True, False])

    def picked(forget: float) -> list[int]:
        marked = _small_loss.smallest(losses, candidates, torch.tensor(forget))
        return marked.nonzero()[:, 0].tolist()

    assert picked(0.0) == [0, 1, 2, 3]
    assert picked(0.25) == [1, 2, 3]
    assert picked(0.5) == [1, 3]
    assert picked(0.7) == [1]  # int(0.3 * 4) = 1
    assert picked(0.8) == picked(1.0) == [1]  # int(0.2 * 4) = 0, but one at least
    nobody = _small_loss.smallest(losses, candidates & False, torch.tensor(0.5))
    assert not nobody.any()


def test_a_whole_number_of_rows_is_not_truncated():
    """(1 - 0.3) * 10 and (1 - 0.9) * 10 are below 7 and above 1 in floats."""
    losses, everyone = torch.arange(10.0), torch.ones(10).bool()
    for forget, kept in [(0.3, 7), (0.9, 1), (0.6, 4), (0.1, 9)]:
        assert _small_loss.smallest(losses, everyone, torch.tensor(forget)).sum() == kept


@BOTH
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("forget", [0.0, 0.2, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("epoch", [9, LATE])
def test_the_weights_equal_the_loops(module, seed, forget, epoch):
    batch, logits = example(seed)
    state = module.turn(begin(module, forget), epoch, ramp_epochs=0)
    weights, _ = module.exchange(state, batch, logits)
    only_disputed = module is co_teaching_plus and epoch == LATE
    given = logits.numpy(), batch.labels.numpy(), batch.weights.numpy()
    assert weights.tolist() == oracle.exchange(*given, forget, only_disputed)


@BOTH
def test_with_nothing_to_forget_both_heads_learn_from_their_own_whole_batch(module):
    """tau = 0 is plain cross-entropy, in co-teaching+ until the warm-up ends."""
    batch, logits = example(0)
    weights, _ = module.exchange(begin(module, 0.0, epoch=3), batch, logits)
    assert torch.equal(weights, batch.weights.expand(2, -1))


@BOTH
def test_a_head_learns_from_the_picks_of_the_other_one_only(module):
    """In warm-up: other scores of the first head change what the second is given, and only that."""
    batch, logits = example(1)
    state = begin(module, 0.5, epoch=9)
    before, _ = module.exchange(state, batch, logits)
    changed = torch.stack([logits[0].flip(1), logits[1]])
    after, _ = module.exchange(state, batch, changed)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_the_gradient_of_a_head_is_that_of_the_picked_rows_averaged_once():
    batch, logits = example(2, classes=4)
    batch = batch._replace(weights=torch.ones_like(batch.weights))
    weights, _ = co_teaching.exchange(begin(co_teaching, 0.4), batch, logits)
    drawn = softmax.parameters(4, 3, torch.Generator().manual_seed(0))
    parameters = {name: value.double().requires_grad_() for name, value in drawn.items()}
    value = softmax.loss(parameters, batch._replace(weights=weights[0]))
    losses = [
        oracle.cross_entropy(logits[1, row].numpy(), int(batch.labels[row])) for row in range(15)
    ]
    picked = sorted(oracle.picks(losses, list(range(15)), 0.4))
    assert len(picked) == 9
    scores = softmax.logits(parameters, batch.embeddings[picked])
    expected = functional.cross_entropy(scores, batch.labels[picked])
    assert value.item() == near(expected.item())
    ours, theirs = (torch.autograd.grad(loss, [*parameters.values()]) for loss in (value, expected))
    torch.testing.assert_close(ours, theirs)


@BOTH
def test_less_than_one_row_to_keep_is_one_row(module):
    batch, logits = example(0, rows=3)
    batch = batch._replace(weights=torch.ones(3, dtype=torch.float64))
    weights, _ = module.exchange(begin(module, 0.99), batch, logits)
    assert (weights > 0).sum(dim=1).tolist() == [1, 1]


@BOTH
def test_a_batch_of_absent_rows_gives_no_weight_and_leaves_the_state(module):
    batch, logits = example(0)
    state = begin(module, 0.5)
    empty = batch._replace(weights=torch.zeros_like(batch.weights))
    weights, after = module.exchange(state, empty, logits)
    assert not weights.any()
    assert torch.equal(after.weights, state.weights)
    assert torch.equal(after.scores, state.scores)


@BOTH
def test_the_state_notes_what_the_first_head_learned_from_and_the_mean_probability(module):
    batch, logits = example(3)
    state = begin(module, 0.5)
    weights, after = module.exchange(state, batch, logits)
    for row in range(15):
        if batch.weights[row] == 0:
            assert (after.weights[row], after.scores[row]) == (1, 1)
            continue
        p = [oracle.softmax(head[row].numpy())[batch.labels[row]] for head in logits]
        assert after.scores[row].item() == near(sum(p) / 2, abs=1e-6)
        assert after.weights[row] == (weights[0, row] > 0)
    assert after.weights[15:].all()  # rows that were not in the batch


def test_only_disputed_rows_are_picked_after_the_warm_up():
    batch, logits = example(0)
    batch = batch._replace(weights=torch.ones_like(batch.weights))
    logits[1, 5:] = 2 * logits[0, 5:]  # agreement from row 5 on
    disputed = logits[0].argmax(dim=1) != logits[1].argmax(dim=1)
    weights, _ = co_teaching_plus.exchange(begin(co_teaching_plus, 0.0), batch, logits)
    assert torch.equal(weights.bool(), disputed.expand(2, -1))
    assert 0 < disputed.sum() <= 5


@pytest.mark.parametrize("forget", [0.0, 0.5])
def test_a_batch_without_disagreement_is_exchanged_as_in_co_teaching(forget):
    batch, logits = example(0)
    weights, _ = co_teaching_plus.exchange(begin(co_teaching_plus, forget), batch, agreeing(logits))
    expected, _ = co_teaching.exchange(begin(co_teaching, forget), batch, agreeing(logits))
    assert torch.equal(weights, expected)
    assert weights.any(dim=1).all()


def test_disagreement_among_absent_rows_does_not_count():
    batch, logits = example(0)
    logits[1] = 2 * logits[0]
    logits[1, batch.weights == 0] *= -1
    weights, _ = co_teaching_plus.exchange(begin(co_teaching_plus, 0.0), batch, logits)
    assert torch.equal(weights, batch.weights.expand(2, -1))


def test_row_0_of_the_data_set_takes_part():
    """The published code of co-teaching+ loses it: it filters row numbers by `!= 0`."""
    batch, logits = example(0)
    logits[:, 0] = torch.tensor([[9.0, 0, 0, 0, 0], [0, 9.0, 0, 0, 0]])
    logits[:, 1:] = 0  # agreement elsewhere
    batch = batch._replace(weights=torch.ones_like(batch.weights))
    weights, state = co_teaching_plus.exchange(begin(co_teaching_plus, 0.3), batch, logits)
    assert weights[:, 0].tolist() == [1, 1]
    assert not weights[:, 1:].any()
    assert state.scores[0] < 1


def test_losses_are_those_of_one_softmax_not_of_two():
    """Softmax of softmax outputs lies between 1 / (1 + e) and e / (1 + e) for two classes."""
    scores = torch.tensor([[40.0, 0.0]])
    assert _small_loss.cross_entropies(scores, torch.tensor([1])).item() == near(40)
    assert _small_loss.cross_entropies(scores, torch.tensor([0])).item() == near(0, abs=1e-12)


@BOTH
def test_the_noise_rate_is_estimated_where_nobody_says_it(module):
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(600) % 6
    features = torch.randn(6, 16, generator=generator)[true]
    features = features + 0.4 * torch.randn(600, 16, generator=generator)
    other = (true + torch.randint(1, 6, (600,), generator=generator)) % 6
    labels = torch.where(torch.rand(600, generator=generator) < 0.3, other, true)
    state = module.start(features, labels, 6, NOT_USED)
    assert state.noise_rate.item() == near((labels != true).double().mean().item(), abs=0.03)


@pytest.mark.parametrize(
    ("name", "loss", "selection"),
    [
        ("co-teaching", "softmax", "co-teaching"),
        ("co-teaching-plus", "softmax", "co-teaching-plus"),
        ("co-teaching-t", "normalized-softmax", "co-teaching"),
    ],
)
def test_the_recipes_pair_them_with_a_classifier(name, loss, selection):
    chosen = recipe(name)
    assert (chosen.loss, chosen.selection, chosen.options) == (loss, selection, {})
