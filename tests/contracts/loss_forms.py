"""Every loss in every form, and how two of its results are compared."""

from __future__ import annotations

import inspect

import pytest
import torch

from pipeline.choices.catalogue import Entry, Value
from pipeline.program.batch import Batch

from .examples import LOSSES, ROWS, make_batch, surveyed


def forms(entry: Entry) -> list[dict[str, Value]]:
    """The defaults, and every other word of every option of the loss, one at a time."""
    known = inspect.signature(entry.load().loss).parameters
    found: list[dict[str, Value]] = [{}]
    for name, option in entry.options.items():
        words = option.choices if option.annotation != "bool" else (True, False)
        found += [{name: word} for word in words if name in known and word != option.default]
    return found


every_loss = pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.name)
every_form = pytest.mark.parametrize(
    ("entry", "options"),
    [
        pytest.param(entry, options, id="-".join([entry.name, *map(str, options.values())]))
        for entry in LOSSES
        for options in forms(entry)
    ],
)


def close(ours: object, expected: object, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance / 100)


def make(entry: Entry, seed: int = 0, rows: int = ROWS) -> Batch:
    return surveyed(entry.load(), make_batch(seed, rows), seed=seed)
