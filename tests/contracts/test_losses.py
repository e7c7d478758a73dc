"""What every loss promises. A new file in `pipeline/losses` meets these tests by itself.

Its numbers are in `test_loss_numerics.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.program.batch import Batch

from .examples import (
    CLASSES,
    ROWS,
    Parameters,
    certain,
    make_parameters,
    required,
    surveyed,
    take,
    value_and_gradients,
)
from .loss_forms import close, every_form, every_loss, make

# As published, the sums are divided by the size of the batch, absent rows included.
COUNTS_ABSENT_ROWS = {"divisor": "batch"}


@every_loss
def test_it_names_its_sampler_and_batch_size(entry):
    module = entry.load()
    assert module.SAMPLER in ("balanced", "shuffle", "own")
    assert (module.SAMPLER == "own") == hasattr(module, "sample")
    assert isinstance(module.BATCH_SIZE, int)
    assert module.BATCH_SIZE >= 1


@every_loss
def test_it_has_no_required_option_and_never_sees_true_labels(entry):
    module = entry.load()
    assert not any(option.is_required for option in entry.options.values())
    for name, function in inspect.getmembers(module, inspect.isfunction):
        assert "true_labels" not in inspect.signature(function).parameters, name
    assert required(module.loss) == {}


@every_form
def test_the_order_of_the_rows_does_not_matter(entry, options):
    module = entry.load()
    batch, parameters = make(entry), make_parameters(module)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    value, by_rows, by_parameters = value_and_gradients(module, parameters, batch, **options)
    same = value_and_gradients(module, parameters, take(batch, order), **options)
    close(same, (value, by_rows[order], by_parameters))


@every_form
def test_the_names_of_the_classes_do_not_matter(entry, options):
    """Labels, memory, proxies, confidences, survey renamed together: new name p[c] for class c."""
    module = entry.load()
    batch, parameters = make(entry), make_parameters(module)
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
    value, by_rows, _ = value_and_gradients(module, parameters, batch, **options)
    found = value_and_gradients(module, moved, surveyed(module, renamed, new_name), **options)
    close(found[:2], (value, by_rows))


@every_form
@pytest.mark.parametrize("has_confidences", [True, False])
def test_a_row_of_weight_0_is_a_row_that_is_not_there(entry, options, has_confidences):
    module = entry.load()
    batch, parameters = make(entry), make_parameters(module)
    if not has_confidences:
        batch = batch._replace(confidences=None)
    rows = torch.arange(ROWS)
    is_there = (rows % 4 != 1) & (rows != ROWS - 1)
    masked = batch._replace(weights=batch.weights * is_there)
    found = value_and_gradients(module, parameters, masked, **options)
    fewer = take(batch, rows[is_there])
    value, by_rows, learned = value_and_gradients(module, parameters, fewer, **options)
    if options == COUNTS_ABSENT_ROWS:
        value, by_rows = (each * len(by_rows) / ROWS for each in (value, by_rows))
    close((found[0], found[1][is_there], found[2]), (value, by_rows, learned))
    assert not found[1][~is_there].any()


@every_form
def test_a_memory_slot_of_weight_0_is_a_slot_that_is_not_there(entry, options):
    module = entry.load()
    batch, parameters = make(entry), make_parameters(module)
    memory, is_full = batch.memory, batch.memory.weights > 0
    shorter = memory._replace(
        embeddings=memory.embeddings[is_full],
        labels=memory.labels[is_full],
        rows=memory.rows[is_full],
        weights=memory.weights[is_full],
    )
    without = batch._replace(memory=shorter)
    expected = value_and_gradients(module, parameters, without, **options)
    close(value_and_gradients(module, parameters, batch, **options), expected)


@every_form
def test_a_batch_of_absent_rows_gives_0_and_a_zero_gradient(entry, options):
    module = entry.load()
    batch = make(entry)
    absent = batch._replace(weights=torch.zeros_like(batch.weights))
    found = value_and_gradients(module, make_parameters(module), absent, **options)
    value, by_rows, by_parameters = found
    assert value == 0
    for gradient in (by_rows, *by_parameters.values()):
        assert not gradient.any()


@every_form
@pytest.mark.parametrize("has_confidences", [True, False])
def test_three_runs_at_once_equal_three_runs_one_by_one(entry, options, has_confidences):
    module = entry.load()
    batches = [make(entry, seed) for seed in (0, 20, 40)]
    if not has_confidences:
        batches = [batch._replace(confidences=None) for batch in batches]
    parameters = [make_parameters(module, seed) for seed in range(3)]

    def run(rows: Tensor, learned: Parameters, batch: dict[str, Any]) -> Tensor:
        return module.loss(learned, Batch(embeddings=rows, **batch), **options)

    def given(batch: Batch) -> dict[str, Any]:
        fields = batch._asdict()
        return {k: v for k, v in fields.items() if v is not None and k != "embeddings"}

    def stack(trees: list[Any]) -> Any:
        return torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)

    batched = torch.func.vmap(torch.func.grad_and_value(run, argnums=(0, 1)))
    (by_rows, by_parameters), values = batched(
        torch.stack([b.embeddings for b in batches]),
        stack(parameters),
        stack([given(b) for b in batches]),
    )
    for number, (learned, batch) in enumerate(zip(parameters, batches, strict=True)):
        found = values[number], by_rows[number]
        by_own = {name: tensor[number] for name, tensor in by_parameters.items()}
        close((*found, by_own), value_and_gradients(module, learned, batch, **options))


@every_form
def test_every_parameter_receives_a_gradient(entry, options):
    module = entry.load()
    parameters = make_parameters(module)
    found = value_and_gradients(module, parameters, make(entry), **options)[2]
    for name, gradient in found.items():
        assert gradient.shape == parameters[name].shape
        assert gradient.any(), name


@every_loss
def test_the_same_generator_draws_the_same_parameters(entry):
    module = entry.load()
    close(make_parameters(module, 5), make_parameters(module, 5))
    other = make_parameters(module, 6)
    for name, tensor in make_parameters(module, 5).items():
        is_constant = bool((tensor == tensor.flatten()[0]).all())  # a start that is not drawn
        assert is_constant or not torch.equal(tensor, other[name])


@every_loss
def test_its_facts_are_finite_figures(entry):
    module = entry.load()
    tell = getattr(module, "facts", lambda parameters, batch: {})
    for batch in (make(entry), certain(make(entry))):
        for name, value in tell(make_parameters(module), batch).items():
            assert value.shape == (), name
            assert value.isfinite(), name
