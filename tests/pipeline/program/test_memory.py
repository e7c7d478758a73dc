"""The memory bank: every row at once, or a queue that wraps."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.program import memory as banks
from pipeline.program.memory import Memory

CPU = torch.device("cpu")


def put(memory: Memory, rows: list[int], weights: list[float] | None = None) -> Memory:
    """Enqueues rows whose embedding and label are made from their number."""
    index = torch.tensor(rows)
    given = torch.ones(len(rows)) if weights is None else torch.tensor(weights)
    return banks.enqueue(memory, embedding_of(index), index % 7, index, given)


def embedding_of(index: Tensor) -> Tensor:
    return torch.stack([index + 0.5, -index], dim=1)


def test_an_empty_queue_has_slots_that_do_not_count():
    memory = banks.empty(3, 2, CPU)
    assert memory.rows.tolist() == [-1, -1, -1]
    assert memory.weights.tolist() == [0, 0, 0]
    assert memory.embeddings.shape == (3, 2)


def test_the_full_bank_holds_every_row_at_its_own_number_without_a_gradient():
    embeddings = torch.randn(4, 2, requires_grad=True)
    memory = banks.full(embeddings, torch.tensor([3, 1, 1, 0]), torch.tensor([1.0, 0.0, 0.5, 1.0]))
    assert memory.rows.tolist() == [0, 1, 2, 3]
    assert memory.labels.tolist() == [3, 1, 1, 0]
    assert memory.weights.tolist() == [1, 0, 0.5, 1]
    assert not memory.embeddings.requires_grad


def test_the_queue_wraps_and_overwrites_its_oldest_slots():
    memory = banks.empty(5, 2, CPU)
    memory = put(memory, [10, 11, 12])
    assert memory.rows.tolist() == [10, 11, 12, -1, -1]
    memory = put(memory, [13, 14, 15])
    assert memory.rows.tolist() == [15, 11, 12, 13, 14]
    memory = put(memory, [16, 17, 18])
    assert memory.rows.tolist() == [15, 16, 17, 18, 14]
    assert memory.pointer == 4


def test_each_slot_holds_all_facts_of_its_row():
    memory = put(put(banks.empty(5, 2, CPU), [10, 11, 12]), [13, 14, 15], [1, 0.5, 0.25])
    assert torch.equal(memory.embeddings, embedding_of(memory.rows))
    assert torch.equal(memory.labels, memory.rows % 7)
    assert memory.weights.tolist() == [0.25, 1, 1, 1, 0.5]


def test_a_batch_larger_than_the_queue_leaves_its_last_rows():
    memory = put(banks.empty(3, 2, CPU), [9])
    memory = put(memory, [10, 11, 12, 13, 14, 15, 16])
    assert sorted(memory.rows.tolist()) == [14, 15, 16]
    assert memory.pointer == 8 % 3
    assert memory.rows[memory.pointer] == 14  # the oldest goes next


def test_rows_of_weight_0_are_not_stored_and_use_no_slot():
    memory = put(banks.empty(4, 2, CPU), [10, 11, 12, 13], [0, 1, 0, 0.5])
    assert memory.rows.tolist() == [11, 13, -1, -1]
    assert memory.pointer == 2
    assert torch.equal(put(memory, [20, 21], [0, 0]).rows, memory.rows)


def test_a_label_of_0_in_the_last_slot_is_a_row_like_any_other():
    memory = put(put(banks.empty(2, 2, CPU), [8, 7]), [15])
    assert memory.labels.tolist() == [1, 0]
    assert memory.rows.tolist() == [15, 7]


def test_the_former_queue_stays_as_it_was():
    before = put(banks.empty(3, 2, CPU), [10, 11])
    index = before.rows.clone()
    put(before, [12, 13])
    assert torch.equal(before.rows, index)


def test_stored_rows_carry_no_gradient():
    rows = torch.randn(2, 2, requires_grad=True)
    index = torch.arange(2)
    memory = banks.enqueue(banks.empty(3, 2, CPU), rows, index, index, torch.ones(2))
    assert not memory.embeddings.requires_grad


def test_three_queues_at_once_equal_three_queues_one_by_one():
    pointers, weights = [0, 2, 3], torch.tensor([[1.0, 1, 1], [0, 1, 0], [0, 0, 0]])
    empty = banks.empty(4, 2, CPU)
    queues = [empty._replace(pointer=torch.tensor(pointer)) for pointer in pointers]
    index = torch.arange(9).view(3, 3)
    separate = [
        banks.enqueue(queue, embedding_of(i), i % 7, i, w)
        for queue, i, w in zip(queues, index, weights, strict=True)
    ]
    stacked = Memory(*(torch.stack(parts) for parts in zip(*queues, strict=True)))
    rows = torch.stack([embedding_of(i) for i in index])
    together = torch.func.vmap(banks.enqueue)(stacked, rows, index % 7, index, weights)
    for run, queue in enumerate(separate):
        torch.testing.assert_close(Memory(*(part[run] for part in together)), queue)
