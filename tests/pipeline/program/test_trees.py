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


def test_mapping_one_by_one_is_what_vmap_gives():
    def function(tree, vector):
        return {"sum": tree["x"].sum() * vector, "state": (tree["x"] + 1,)}

    given = {"x": torch.randn(4, 2, 2)}, torch.randn(4, 3)
    torch.testing.assert_close(
        trees.one_by_one(function)(*given), torch.func.vmap(function)(*given)
    )
