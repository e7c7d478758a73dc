"""The numbers of every loss: finite, exact in their type, and the gradient its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.choices.catalogue import Entry
from pipeline.program.batch import Batch

from .examples import ROWS, cast, certain, make_batch, make_parameters, value_and_gradients
from .loss_forms import close, every_form, every_loss, make

# Extreme values of the options that sharpen a loss.
SHARP = dict.fromkeys(("scale", "alpha", "beta"), 256.0)
SHARP |= {"temperature": 1 / 256, "gamma": 1 / 256, "sharpness": 1e4}
# As published, what these losses detach is constant for the gradient, though it varies smoothly.
HOLDS_FACTORS_CONSTANT = {"circle", "margin"}


def assert_finite(entry: Entry, batch: Batch, **options: Any) -> None:
    module = entry.load()
    parameters = {
        name: tensor.to(batch.embeddings.dtype) for name, tensor in make_parameters(module).items()
    }
    value, by_rows, by_parameters = value_and_gradients(module, parameters, batch, **options)
    for tensor in (value, by_rows, *by_parameters.values()):
        assert tensor.isfinite().all()


@every_form
def test_float32_weights_beside_float64_embeddings_cost_no_digits(entry, options):
    """Selections keep float32: everything of theirs in float32, or the same numbers in float64."""
    module = entry.load()
    batch, parameters = make(entry), make_parameters(module)
    narrow = batch._replace(
        weights=batch.weights.float(),
        confidences=batch.confidences.float(),
        memory=batch.memory._replace(weights=batch.memory.weights.float()),
    )
    exact = value_and_gradients(module, parameters, cast(narrow, torch.float64), **options)
    found = value_and_gradients(module, parameters, narrow, **options)
    assert found[0].dtype == torch.float64
    close(found, exact)


@every_form
def test_half_precision_rows_are_raised_to_float32(entry, options):
    """The loss of float16 rows is the float32 loss of the same numbers, with a finite gradient."""
    module = entry.load()
    parameters = {name: tensor.float() for name, tensor in make_parameters(module).items()}
    half = cast(make(entry), torch.float32)
    memory = half.memory._replace(embeddings=half.memory.embeddings.half())
    half = half._replace(embeddings=half.embeddings.half(), memory=memory)
    same = cast(half, torch.float32)
    expected = value_and_gradients(module, parameters, same, **options)
    value, by_rows, learned = value_and_gradients(module, parameters, half, **options)
    assert by_rows.dtype == torch.float16
    assert by_rows.isfinite().all()
    close((value, learned), (expected[0], expected[2]), 1e-5)


@every_form
@pytest.mark.parametrize("labels", [[0] * 6, [0, 1, 2, 3, 4, 5], [6] * 5 + [0]])
@pytest.mark.parametrize("has_memory", [True, False])
def test_batches_without_positives_or_without_negatives_are_finite(
    entry, options, labels, has_memory
):
    batch = make(entry, rows=6)._replace(labels=torch.tensor(labels))
    if not has_memory:
        empty = torch.zeros_like(batch.memory.weights)
        batch = batch._replace(memory=batch.memory._replace(weights=empty))
    assert_finite(entry, batch, **options)
    assert_finite(entry, certain(batch), **options)


@every_form
@pytest.mark.parametrize("rows", [1, 2])
def test_the_smallest_batches_are_finite(entry, options, rows):
    assert_finite(entry, make(entry, rows=rows), **options)
    bare = make_batch(rows=rows)._replace(memory=None, confidences=None)
    assert_finite(entry, bare, **options)


@every_form
def test_rows_without_any_class_are_finite(entry, options):
    batch = make(entry)
    for confidences in (torch.zeros_like, torch.ones_like):
        given = batch._replace(confidences=confidences(batch.confidences))
        assert_finite(entry, given, **options)


class Held:
    """Calls a loss with everything that it detaches held at its value of the first call."""

    def __init__(self, function: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        self.function, self.monkeypatch = function, monkeypatch
        self.values: list[Tensor] = []

    def __call__(self, *leaves: Tensor) -> Tensor:
        plain, is_first, at = Tensor.detach, not self.values, iter(self.values)

        def detach(tensor: Tensor) -> Tensor:
            if is_first:
                self.values.append(plain(tensor).clone())
                return self.values[-1]
            return next(at)

        with self.monkeypatch.context() as patched:
            patched.setattr(Tensor, "detach", detach)
            return self.function(*leaves)


@every_loss
def test_the_gradient_is_the_derivative(entry, monkeypatch):
    """In float64; with constant factors held where the loss holds them."""
    module = entry.load()
    batch = make(entry)
    names, tensors = zip(*[("", batch.embeddings), *make_parameters(module).items()], strict=True)

    def loss(embeddings: Tensor, *parameters: Tensor) -> Tensor:
        given = batch._replace(embeddings=embeddings)
        return module.loss(dict(zip(names[1:], parameters, strict=True)), given)

    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    is_held = entry.name in HOLDS_FACTORS_CONSTANT
    function = Held(loss, monkeypatch) if is_held else loss
    if is_held:
        assert not torch.autograd.gradcheck(loss, leaves, raise_exception=False)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=False)


@every_form
def test_it_is_finite_at_scale_256_and_with_copies(entry, options):
    """In float32, on rows at cosine 1 and -1 to each other."""
    batch = make(entry)
    rows = batch.embeddings.clone()
    rows[1:4], rows[4:6] = rows[0], -rows[0]
    sharp = {name: value for name, value in SHARP.items() if name in entry.options}
    batch = cast(batch._replace(embeddings=rows), torch.float32)
    assert_finite(entry, batch, **sharp, **options)
    assert_finite(entry, cast(certain(batch), torch.float32), **sharp, **options)


@every_form
def test_a_batch_of_copies_is_finite(entry, options):
    batch = make(entry)
    same = batch.embeddings[:1].expand(ROWS, -1)
    assert_finite(entry, batch._replace(embeddings=same), **options)
