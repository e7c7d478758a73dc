"""A loss of pytorch-metric-learning as this project's programs call it: no registry entry.

The library's classes read sizes from their batches and keep what they learn in themselves, so the
runs of a program take turns, and a class is called as a pure function of its parameters. The class
has no weights of rows: a row of weight 0 is left out, and every other row counts fully, whatever
its weight. What a class draws at random (triplets, with `triplets_per_anchor=10`) is decided by the
row numbers of the batch; the global generator stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cache.errors import InputError
from pipeline.choices import library
from pipeline.choices.catalogue import Value
from pipeline.program.batch import Batch


def bind(name: str, options: Mapping[str, Value]) -> ModuleType:
    """Make a loss module, as `pipeline.losses` describes them, of a class and its options.

    A class that cannot do without the number of classes learns proxies and gets shuffled batches,
    any other balanced ones.

    Args:
        name: "pml:CLASS".
        options: keywords of the class's constructor, beside the sizes, which are filled in.

    Raises:
        InputError: the class is unknown or cannot be used.
    """
    keywords = library.keywords_of(library.loss_class(name))
    sizes = keywords.get("num_classes")
    has_proxies = sizes is not None and sizes.default is sizes.empty
    loss = _Loss(name, options)
    module = ModuleType(name)
    vars(module).update(
        loss=loss.loss,
        parameters=loss.parameters,
        SAMPLER="shuffle" if has_proxies else "balanced",
        BATCH_SIZE=64,
        BATCHED=False,
    )
    return module


class _Loss:
    """A class of the library with its options, and, once its sizes are known, an instance."""

    def __init__(self, name: str, options: Mapping[str, Value]) -> None:
        self._name, self._options = name, options

    def parameters(
        self, num_classes: int, embedding_dim: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw the class's own parameters; the program does so for every run before its first step.

        Args:
            num_classes: C, for a constructor that takes it.
            embedding_dim: D, for a constructor that takes it as `embedding_size`.
            generator: on the CPU.

        Raises:
            InputError: the constructor refuses the options.
        """
        found = library.loss_class(self._name)
        sizes = {"num_classes": num_classes, "embedding_size": embedding_dim}
        taken = {key: sizes[key] for key in library.keywords_of(found) if key in sizes}
        seed = int(torch.randint(2**62, (), generator=generator))
        with _seeded(seed), self._one_line("cannot be made with these options"), catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # numpy's, of how some classes are written
            self._module: nn.Module = found(**taken, **self._options)
        return {key: value.detach().clone() for key, value in self._module.named_parameters()}

    def loss(self, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        """Compute the loss of one batch: 0 with a live graph where no row has a weight.

        Args:
            parameters: as `parameters` draws them.
            batch: B rows; those of a weight above 0 count, fully.

        Raises:
            InputError: the class cannot work with the batch or with its options.
        """
        nothing = 0 * sum((each.sum() for each in parameters.values()), batch.embeddings.sum())
        is_kept = batch.weights > 0
        if not is_kept.any():
            return nothing
        labels = batch.labels[is_kept]
        digest = hashlib.sha256(batch.rows.cpu().numpy().tobytes()).digest()
        seed = int.from_bytes(digest[:7], "big")
        with _seeded(seed), self._one_line(f"failed on a batch of {int(is_kept.sum())} rows"):
            arguments = batch.embeddings[is_kept], labels
            value = nothing + functional_call(self._module, parameters, arguments)
        is_without_pair = labels.bincount().max() == 1
        return nothing if value.isnan() and is_without_pair else value  # a mean over no pairs

    @contextmanager
    def _one_line(self, problem: str) -> Iterator[None]:
        """Turn whatever the library raises into one line."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self._name} {problem}: {reason}") from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let the global generator of the CPU begin at a seed, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
