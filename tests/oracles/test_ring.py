"""The queue memory against a list of slots that a pointer walks over."""

from __future__ import annotations

import pytest
import torch

from pipeline.program import memory as banks

from .ring import Ring


@pytest.mark.parametrize("size", [1, 3, 4, 7, 50])
@pytest.mark.parametrize("weights", ["ones", "binary", "none"])
def test_the_slots_equal_those_of_a_walking_pointer(size, weights):
    """Eight batches of four rows: the ring wraps at every place, is smaller or larger than a batch,
    and rows of weight 0 are passed over."""
    generator = torch.Generator().manual_seed(size)
    memory, ring = banks.empty(size, 2, torch.device("cpu")), Ring(size)
    for number in range(8):
        index = torch.arange(4) + 4 * number
        weight = {
            "ones": torch.ones(4),
            "binary": (torch.rand(4, generator=generator) > 0.5).float(),
            "none": torch.zeros(4),
        }[weights]
        rows = torch.stack([index, -index], dim=1).float()
        memory = banks.enqueue(memory, rows, index % 3, index, weight)
        ring.enqueue(index.tolist(), weight.tolist())
        assert memory.rows.tolist() == ring.slots
        assert memory.pointer.item() == ring.pointer
        filled = memory.rows >= 0
        assert torch.equal(memory.labels[filled], memory.rows[filled] % 3)
        assert torch.equal(memory.embeddings[filled, 0], memory.rows[filled].float())
        assert memory.weights.tolist() == filled.float().tolist()
