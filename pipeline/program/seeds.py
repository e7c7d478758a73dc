"""The seeds of a run."""

from __future__ import annotations

from typing import NamedTuple


class Seeds(NamedTuple):
    """What decides a run's randomness; each purpose has a stream of its own.

    Attributes:
        start: of the parameters and of what the selection draws.
        sampling: of the batches, and of what the loss draws when it looks at all rows.
    """

    start: int
    sampling: int

    @classmethod
    def of(cls, seed: int | Seeds) -> Seeds:
        """Take one seed for everything, or seeds as they are."""
        return seed if isinstance(seed, Seeds) else cls(seed, seed)
