"""What every selection promises. A new file in `pipeline/selection` meets these tests by itself."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from pipeline.choices.catalogue import Entry
from pipeline.program import memory as banks
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory
from pipeline.selection._state import State

from .examples import SELECTIONS, generator, required, unit_rows

N, FEATURES, CLASSES, DIM, BATCH = 120, 16, 8, 6, 24
# Confidence deals rows to folds class by class: other names, other folds, other models.
DRAWN_BY_CLASS = {"confidence"}


def name_of(entry: Entry) -> str:
    return entry.name


every_selection = pytest.mark.parametrize("entry", SELECTIONS, ids=name_of)


def noisy_classes(rows: int, seed: int, noise_rate: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian classes far apart: features (N, F), given labels (N,), which of them are wrong."""
    source = generator(seed)
    true = torch.arange(rows) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=source)
    features = centres[true] + 0.5 * torch.randn(rows, FEATURES, generator=source)
    is_wrong = torch.rand(rows, generator=source) < noise_rate
    other = (true + torch.randint(1, CLASSES, (rows,), generator=source)) % CLASSES
    return features, torch.where(is_wrong, other, true), is_wrong


def auc(scores: Tensor, is_wrong: Tensor) -> float:
    """The share of (right, wrong) pairs in which the right row has the higher score."""
    difference = scores[~is_wrong][:, None] - scores[is_wrong][None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).double().mean())


def start(
    entry: Entry, features: Tensor, labels: Tensor, seed: int = 0, num_classes: int = CLASSES
) -> State:
    module = entry.load()
    return module.start(features, labels, num_classes, generator(seed), **required(module.start))


def refresh(entry: Entry, state: State, labels: Tensor, progress: float) -> State:
    """Begins an epoch, of 20, with random embeddings; a selection may have nothing to do then."""
    if hasattr(entry.load(), "turn"):
        state = entry.load().turn(state, round(20 * progress))
    if not hasattr(entry.load(), "refresh"):
        return state
    embeddings = unit_rows(len(labels), DIM, 9).float()
    return entry.load().refresh(state, embeddings, labels, CLASSES, progress)


def draw_logits(seed: int = 0) -> Tensor:
    """What two heads say of a batch, (2, B, C)."""
    return 2 * torch.randn(2, BATCH, CLASSES, generator=generator(seed))


def select(
    entry: Entry, state: State, batch: Batch, logits: Tensor | None = None
) -> tuple[Batch, State]:
    """The batch as the selection weighs it; where it trains two heads, weights are (2, B)."""
    module = entry.load()
    if getattr(module, "HEADS", 1) == 1:
        return module.select(state, batch)
    weights, state = module.exchange(state, batch, draw_logits() if logits is None else logits)
    assert weights.shape == (2, len(batch.rows))
    return batch._replace(weights=weights), state


def make_queue(seed: int) -> Memory:
    """A queue of 40 slots with 30 rows in it."""
    memory = banks.empty(40, DIM, torch.device("cpu"))
    labels = torch.randint(
        CLASSES - 1, (30,), generator=generator(seed)
    )  # the last class is unknown
    rows = unit_rows(30, DIM, seed).float()
    return banks.enqueue(memory, rows, labels, torch.arange(30), torch.ones(30))


def make_batch(labels: Tensor, seed: int, has_memory: bool = True) -> Batch:
    """24 different rows of the split, of which some count half and some are absent."""
    index = torch.randperm(len(labels), generator=generator(seed))[:BATCH]
    weights = torch.tensor([1.0, 0.5, 1.0, 0.0]).repeat(BATCH // 4)
    rows = unit_rows(BATCH, DIM, seed + 1).float()
    return Batch(rows, labels[index], index, weights, make_queue(seed + 2) if has_memory else None)


def assert_valid(state: State, rows: int) -> None:
    for values in (state.weights, state.scores):
        assert values.shape == (rows,)
        assert values.is_floating_point()
        assert ((values >= 0) & (values <= 1)).all()
    assert state.noise_rate.shape == ()
    assert state.noise_rate.isnan() or 0 <= state.noise_rate <= 1


def assert_same(ours: object, expected: object) -> None:
    torch.testing.assert_close(ours, expected, equal_nan=True)


@every_selection
def test_weights_and_scores_of_all_rows_stay_between_0_and_1(entry):
    features, labels, _ = noisy_classes(N, 0)
    state = start(entry, features, labels)
    assert_valid(state, N)
    for epoch in range(3):
        state = refresh(entry, state, labels, epoch / 2)
        assert_valid(state, N)
        for step in range(3):
            batch, state = select(entry, state, make_batch(labels, 10 * epoch + step))
            assert_valid(state, N)
            assert ((batch.weights >= 0) & (batch.weights <= 1)).all()
            if batch.confidences is not None:
                assert batch.confidences.shape == (BATCH, CLASSES)
                assert ((batch.confidences >= 0) & (batch.confidences <= 1)).all()


@every_selection
@pytest.mark.parametrize("has_memory", [True, False])
def test_select_only_lowers_weights_and_changes_nothing_but_weights_and_confidences(
    entry, has_memory
):
    features, labels, _ = noisy_classes(N, 0)
    state = start(entry, features, labels)
    for step in range(4):
        given = make_batch(labels, step, has_memory)
        batch, state = select(entry, state, given)
        assert (batch.weights <= given.weights).all()
        assert_same(batch._replace(weights=given.weights, confidences=given.confidences), given)


@every_selection
def test_nothing_that_it_is_given_is_changed_in_place(entry):
    features, labels, _ = noisy_classes(N, 0)
    kept = features.clone(), labels.clone()
    state = start(entry, features, labels)
    before = state.weights.clone(), state.scores.clone()
    batch = make_batch(labels, 0)
    weights = batch.weights.clone()
    select(entry, state, batch)
    refresh(entry, state, labels, 1.0)
    assert_same((features, labels), kept)
    assert_same((state.weights, state.scores, batch.weights), (*before, weights))


@every_selection
def test_the_same_generator_gives_the_same_state(entry):
    features, labels, _ = noisy_classes(N, 0)
    torch.manual_seed(1)
    first = start(entry, features, labels, seed=3)
    torch.manual_seed(2)
    assert_same(start(entry, features, labels, seed=3), first)


@every_selection
def test_the_global_random_state_is_left_alone(entry):
    features, labels, _ = noisy_classes(N, 0)
    before = torch.get_rng_state()
    refresh(entry, start(entry, features, labels), labels, 0.5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "entry", [entry for entry in SELECTIONS if entry.name not in DRAWN_BY_CLASS], ids=name_of
)
def test_the_names_of_the_classes_do_not_change_the_weights(entry):
    features, labels, _ = noisy_classes(N, 0)
    new_name = torch.randperm(CLASSES, generator=generator(5))
    logits = draw_logits()
    given = make_batch(labels, 1)
    renamed = given._replace(
        labels=new_name[given.labels],
        memory=given.memory._replace(labels=new_name[given.memory.labels]),
    )
    results = []
    for names, batch, scores in (
        (labels, given, logits),
        (new_name[labels], renamed, logits[..., new_name.argsort()]),
    ):
        state = refresh(entry, start(entry, features, names), names, 0.5)
        selected, state = select(entry, state, batch, scores)
        results.append((state.weights, state.scores, selected.weights))
    assert_same(*results)


@every_selection
def test_absent_rows_do_not_decide_about_the_others(entry):
    """Changing embeddings, labels and logits of rows of weight 0 changes nothing for the rest."""
    features, labels, _ = noisy_classes(N, 0)
    state = refresh(entry, start(entry, features, labels), labels, 1.0)
    given = make_batch(labels, 1)
    is_absent = given.weights == 0
    changed = given._replace(
        embeddings=torch.where(is_absent[:, None], -given.embeddings, given.embeddings),
        labels=torch.where(is_absent, 0, given.labels),
    )
    logits = draw_logits()
    other_logits = torch.where(is_absent[:, None], draw_logits(1), logits)
    first, state_1 = select(entry, state, given, logits)
    second, state_2 = select(entry, state, changed, other_logits)
    assert_same(first.weights, second.weights)
    assert_same(state_1, state_2)


@every_selection
@pytest.mark.parametrize("has_memory", [True, False])
def test_three_runs_at_once_select_as_three_runs_one_by_one(entry, has_memory):
    states, separate, batches = [], [], []
    logits = [draw_logits(run) for run in range(3)]
    for run in range(3):
        features, labels, _ = noisy_classes(N, run)
        state = start(entry, features, labels, seed=run)
        states.append(refresh(entry, state, labels, run / 2))
        batches.append([make_batch(labels, 10 * run + step, has_memory) for step in range(3)])

    def stack(trees: list) -> object:
        return torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)

    def step(state, embeddings, labels, index, weights, memory, logits):
        batch = Batch(embeddings, labels, index, weights, memory if has_memory else None)
        batch, state = select(entry, state, batch, logits)
        return batch.weights, batch.confidences if batch.confidences is not None else (), state

    stacked = stack(states)
    for number in range(3):
        separate = [
            select(entry, state, run[number], scores)
            for state, run, scores in zip(states, batches, logits, strict=True)
        ]
        states = [state for _, state in separate]
        given = [run[number] for run in batches]
        tensors = [torch.stack([getattr(b, name) for b in given]) for name in Batch._fields[:4]]
        memory = stack([b.memory if has_memory else make_queue(0) for b in given])
        weights, confidences, stacked = torch.func.vmap(step)(
            stacked, *tensors, memory, torch.stack(logits)
        )
        assert_same(weights, torch.stack([batch.weights for batch, _ in separate]))
        if separate[0][0].confidences is not None:
            assert_same(confidences, torch.stack([batch.confidences for batch, _ in separate]))
        assert_same(stacked, stack(states))


@every_selection
def test_a_row_alone_in_its_class_is_not_dropped(entry):
    """There is nothing to compare it with: it is kept, before and during training."""
    features, labels, _ = noisy_classes(N, 0)
    labels = torch.where(labels == CLASSES - 1, 0, labels)
    labels[17] = CLASSES - 1
    state = start(entry, features, labels)
    assert state.weights[17] == 1
    assert refresh(entry, state, labels, 1.0).weights[17] == 1


@every_selection
def test_classes_without_rows_are_finite(entry):
    features, labels, _ = noisy_classes(N, 0)
    state = start(entry, features, labels, num_classes=CLASSES + 5)
    assert_valid(state, N)
    batch, state = select(entry, state, make_batch(labels, 0))
    assert_valid(state, N)
    assert batch.weights.isfinite().all()


@every_selection
def test_copies_of_one_row_are_finite(entry):
    features, labels, _ = noisy_classes(N, 0)
    features[: N // 2] = features[0]
    state = start(entry, features, labels)
    assert_valid(state, N)
    assert_valid(refresh(entry, state, labels, 1.0), N)


@pytest.mark.parametrize("name", ["prism", "prism-vmf", "knn", "confidence"])
def test_wrong_labels_of_separate_classes_score_lowest(name):
    (entry,) = [entry for entry in SELECTIONS if entry.name == name]
    features, labels, is_wrong = noisy_classes(800, 0)
    state = start(entry, features, labels)
    assert auc(state.scores, is_wrong) > 0.95
    dropped = state.weights == 0
    assert (dropped & is_wrong).sum() > 0.8 * is_wrong.sum()
    assert (dropped & ~is_wrong).sum() < 0.1 * (~is_wrong).sum()


@every_selection
def test_no_function_is_shown_true_labels(entry):
    for name, function in inspect.getmembers(entry.load(), inspect.isfunction):
        assert "true_labels" not in inspect.signature(function).parameters, name
