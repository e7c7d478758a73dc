"""What every loss promises. A new file in `pipeline/losses` meets these tests by itself."""

from __future__ import annotations

import inspect

import pytest
import torch

from pipeline.choices.catalogue import Entry
from pipeline.program.batch import Batch

from .examples import (
    CLASSES,
    LOSSES,
    ROWS,
    certain,
    make_batch,
    make_parameters,
    required,
    take,
    value_and_gradients,
)

SHARPNESS = ("scale", "alpha", "beta")
# As published, some factors are constant for the gradient; tests/oracles hold them likewise.
NOT_THE_DERIVATIVE = {"circle", "margin"}
pytestmark = pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.name)


def close(ours: object, expected: object) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def assert_finite(entry: Entry, batch: Batch, **options: float) -> None:
    module = entry.load()
    parameters = {
        name: tensor.to(batch.embeddings.dtype) for name, tensor in make_parameters(module).items()
    }
    value, by_rows, by_parameters = value_and_gradients(module, parameters, batch, **options)
    for tensor in (value, by_rows, *by_parameters.values()):
        assert tensor.isfinite().all()


def test_it_names_its_sampler_and_batch_size(entry):
    module = entry.load()
    assert module.SAMPLER in ("balanced", "shuffle")
    assert isinstance(module.BATCH_SIZE, int)
    assert module.BATCH_SIZE >= 1


def test_it_has_no_required_option_and_never_sees_true_labels(entry):
    module = entry.load()
    assert not any(option.is_required for option in entry.options.values())
    for name, function in inspect.getmembers(module, inspect.isfunction):
        assert "true_labels" not in inspect.signature(function).parameters, name
    assert required(module.loss) == {}


def test_the_order_of_the_rows_does_not_matter(entry):
    module = entry.load()
    batch, parameters = make_batch(), make_parameters(module)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    value, by_rows, by_parameters = value_and_gradients(module, parameters, batch)
    same = value_and_gradients(module, parameters, take(batch, order))
    close(same, (value, by_rows[order], by_parameters))


def test_the_names_of_the_classes_do_not_matter(entry):
    """Labels, memory, proxies and confidences renamed together: new name p[c] for class c."""
    module = entry.load()
    batch, parameters = make_batch(), make_parameters(module)
    new_name = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(4))
    old_name = new_name.argsort()
    renamed = batch._replace(
        labels=new_name[batch.labels],
        memory=batch.memory._replace(labels=new_name[batch.memory.labels]),
        confidences=batch.confidences[:, old_name],
    )
    moved = {
        name: tensor[old_name] if tensor.shape[:1] == (CLASSES,) else tensor
        for name, tensor in parameters.items()
    }
    value, by_rows, _ = value_and_gradients(module, parameters, batch)
    close(value_and_gradients(module, moved, renamed)[:2], (value, by_rows))


@pytest.mark.parametrize("has_confidences", [True, False])
def test_a_row_of_weight_0_is_a_row_that_is_not_there(entry, has_confidences):
    module = entry.load()
    batch, parameters = make_batch(), make_parameters(module)
    if not has_confidences:
        batch = batch._replace(confidences=None)
    rows = torch.arange(ROWS)
    is_there = (rows % 4 != 1) & (rows != ROWS - 1)
    masked = batch._replace(weights=batch.weights * is_there)
    value, by_rows, by_parameters = value_and_gradients(module, parameters, masked)
    without = value_and_gradients(module, parameters, take(batch, rows[is_there]))
    close((value, by_rows[is_there], by_parameters), without)
    assert not by_rows[~is_there].any()


def test_a_memory_slot_of_weight_0_is_a_slot_that_is_not_there(entry):
    module = entry.load()
    batch, parameters = make_batch(), make_parameters(module)
    memory, is_full = batch.memory, batch.memory.weights > 0
    shorter = memory._replace(
        embeddings=memory.embeddings[is_full],
        labels=memory.labels[is_full],
        rows=memory.rows[is_full],
        weights=memory.weights[is_full],
    )
    without = value_and_gradients(module, parameters, batch._replace(memory=shorter))
    close(value_and_gradients(module, parameters, batch), without)


def test_weights_may_be_float32_beside_float64_embeddings(entry):
    """Selections keep float32 weights; ones are exact in both."""
    module = entry.load()
    batch, parameters = make_batch(), make_parameters(module)
    ones = torch.ones(ROWS, dtype=torch.float64)
    exact = value_and_gradients(module, parameters, batch._replace(weights=ones))
    close(value_and_gradients(module, parameters, batch._replace(weights=ones.float())), exact)


@pytest.mark.parametrize("labels", [[0] * 6, [0, 1, 2, 3, 4, 5], [6] * 5 + [0]])
@pytest.mark.parametrize("has_memory", [True, False])
def test_batches_without_positives_or_without_negatives_are_finite(entry, labels, has_memory):
    batch = make_batch(rows=6)._replace(labels=torch.tensor(labels))
    if not has_memory:
        empty = torch.zeros_like(batch.memory.weights)
        batch = batch._replace(memory=batch.memory._replace(weights=empty))
    assert_finite(entry, batch)
    assert_finite(entry, certain(batch))


@pytest.mark.parametrize("rows", [1, 2])
def test_the_smallest_batches_are_finite(entry, rows):
    assert_finite(entry, make_batch(rows=rows))
    assert_finite(entry, make_batch(rows=rows)._replace(memory=None, confidences=None))


def test_a_batch_of_absent_rows_gives_a_zero_gradient(entry):
    module = entry.load()
    batch = make_batch()
    absent = batch._replace(weights=torch.zeros_like(batch.weights))
    value, by_rows, by_parameters = value_and_gradients(module, make_parameters(module), absent)
    assert value.isfinite()
    for gradient in (by_rows, *by_parameters.values()):
        assert not gradient.any()


def test_rows_without_any_class_are_finite(entry):
    batch = make_batch()
    assert_finite(entry, batch._replace(confidences=torch.zeros_like(batch.confidences)))
    assert_finite(entry, batch._replace(confidences=torch.ones_like(batch.confidences)))


def test_the_gradient_is_the_derivative(entry):
    if entry.name in NOT_THE_DERIVATIVE:
        pytest.skip("holds factors constant: see tests/oracles/test_baselines_pairs.py")
    module = entry.load()
    batch = make_batch(rows=6)
    names, tensors = zip(*[("", batch.embeddings), *make_parameters(module).items()], strict=True)

    def loss(embeddings: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        given = batch._replace(embeddings=embeddings)
        return module.loss(dict(zip(names[1:], parameters, strict=True)), given)

    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(loss, leaves, fast_mode=False)


def test_it_is_finite_when_four_times_as_sharp_and_with_copies(entry):
    """In float32, on rows at cosine 1 and -1 to each other."""
    batch = make_batch()
    rows = batch.embeddings.clone()
    rows[1:4], rows[4:6] = rows[0], -rows[0]
    sharp = {
        name: 4 * option.default for name, option in entry.options.items() if name in SHARPNESS
    }
    memory = batch.memory._replace(
        embeddings=batch.memory.embeddings.float(), weights=batch.memory.weights.float()
    )
    batch = batch._replace(
        embeddings=rows.float(),
        weights=batch.weights.float(),
        memory=memory,
        confidences=batch.confidences.float(),
    )
    assert_finite(entry, batch, **sharp)
    assert_finite(entry, certain(batch), **sharp)


def test_a_batch_of_copies_is_finite(entry):
    batch = make_batch()
    same = batch.embeddings[:1].expand(ROWS, -1)
    assert_finite(entry, batch._replace(embeddings=same))


@pytest.mark.parametrize("has_confidences", [True, False])
def test_three_runs_at_once_equal_three_runs_one_by_one(entry, has_confidences):
    module = entry.load()
    batches = [make_batch(seed) for seed in (0, 20, 40)]
    if not has_confidences:
        batches = [batch._replace(confidences=None) for batch in batches]
    parameters = [make_parameters(module, seed) for seed in range(3)]
    separate = [
        value_and_gradients(module, p, batch) for p, batch in zip(parameters, batches, strict=True)
    ]

    def run(rows, learned, labels, index, weights, memory, confidences):
        confidences = confidences if has_confidences else None
        return module.loss(learned, Batch(rows, labels, index, weights, memory, confidences))

    def stack(trees: list) -> object:
        return torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)

    batched = torch.func.vmap(torch.func.grad_and_value(run, argnums=(0, 1)))
    (by_rows, by_parameters), values = batched(
        torch.stack([b.embeddings for b in batches]),
        stack(parameters),
        torch.stack([b.labels for b in batches]),
        torch.stack([b.rows for b in batches]),
        torch.stack([b.weights for b in batches]),
        stack([b.memory for b in batches]),
        torch.stack(
            [certain(b).confidences if not has_confidences else b.confidences for b in batches]
        ),
    )
    for run_number, (value, rows, learned) in enumerate(separate):
        close(values[run_number], value)
        close(by_rows[run_number], rows)
        close({name: tensor[run_number] for name, tensor in by_parameters.items()}, learned)


def test_every_parameter_receives_a_gradient(entry):
    module = entry.load()
    parameters = make_parameters(module)
    for name, gradient in value_and_gradients(module, parameters, make_batch())[2].items():
        assert gradient.shape == parameters[name].shape
        assert gradient.any(), name


def test_the_same_generator_draws_the_same_parameters(entry):
    module = entry.load()
    close(make_parameters(module, 5), make_parameters(module, 5))
    other = make_parameters(module, 6)
    for name, tensor in make_parameters(module, 5).items():
        is_constant = bool((tensor == tensor.flatten()[0]).all())  # a start that is not drawn
        assert is_constant or not torch.equal(tensor, other[name])
