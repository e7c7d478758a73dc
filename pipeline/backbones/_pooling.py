"""From feature maps to one vector per picture."""

from __future__ import annotations

from torch import Tensor

from cache.errors import InputError

POOLS = ("avg", "max", "avg+max", "cls")


def pool_positions(positions: Tensor, pool: str) -> Tensor:
    """Pool over positions.

    Args:
        positions: (B, T, F), one vector for each of T positions.
        pool: "avg", "max", or "avg+max": the sum of both, as in Proxy-Anchor.

    Returns:
        (B, F).
    """
    if pool == "avg":
        return positions.mean(dim=1)
    if pool == "max":
        return positions.amax(dim=1)
    return positions.mean(dim=1) + positions.amax(dim=1)


def check_pool(pool: str | None) -> None:
    """Refuse a pool that no backbone has."""
    if pool is not None and pool not in POOLS:
        raise InputError(f"unknown pool {pool!r}: choose from {', '.join(POOLS)}")


def unsupported(name: str, pool: str, reason: str) -> InputError:
    """Make the error for a pool that this backbone cannot give."""
    return InputError(f"{name} has no pool {pool!r}: {reason}")
