"""The queue memory as a list of slots that a pointer walks over."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Ring:
    """`size` slots; a slot holds the row number that was stored, -1 when empty."""

    size: int
    slots: list[int] = field(default_factory=list)
    pointer: int = 0

    def __post_init__(self) -> None:
        self.slots = [-1] * self.size

    def enqueue(self, rows: list[int], weights: list[float]) -> None:
        """Writes one row after the other; rows of weight 0 are not stored."""
        for row, weight in zip(rows, weights, strict=True):
            if weight > 0:
                self.slots[self.pointer] = row
                self.pointer = (self.pointer + 1) % self.size
