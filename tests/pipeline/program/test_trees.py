"""Trees of tensors: stacking and taking apart, names and back."""

from __future__ import annotations

import torch

from pipeline.program import memory, trees
from pipeline.program.memory import Memory


def bank(value: float) -> Memory:
    return memory.empty(3, 2, torch.device("cpu"))._replace(weights=torch.full((3,), value))


def test_taking_a_run_undoes_stacking():
    runs = [{"a": torch.tensor(float(run)), "b": (bank(run),), "c": {}} for run in range(3)]
    stacked = trees.stack(runs)
    assert stacked["b"][0].weights.shape == (3, 3)
    for run, tree in enumerate(runs):
        torch.testing.assert_close(trees.take(stacked, run), tree)


def test_leaves_are_named_by_keys_fields_and_places():
    leaves = trees.flatten({"a": torch.ones(1), "b": (bank(1.0),), "empty": {}})
    assert set(leaves) == {"a", *(f"b/0/{field}" for field in Memory._fields)}
    assert set(trees.nest(leaves)["b"]["0"]) == set(Memory._fields)


def test_copying_writes_into_the_same_memory():
    to, tree = ({"a": torch.zeros(2), "b": (bank(0.0),)} for _ in range(2))
    tree["a"] += 3
    tree["b"][0].weights.fill_(5)
    before = [leaf.data_ptr() for leaf in trees.flatten(to).values()]
    trees.copy(to, tree)
    assert [leaf.data_ptr() for leaf in trees.flatten(to).values()] == before
    torch.testing.assert_close(to, tree)
