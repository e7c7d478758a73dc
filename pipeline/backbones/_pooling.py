"""From feature maps to one vector per picture, or to several."""

from __future__ import annotations

import torch
from torch import Tensor

from cache.errors import InputError

POOLS = ("avg", "max", "avg+max", "cls", "dist", "cls-only", "own")


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


def split_pools(pool: str | None) -> tuple[str, ...]:
    """Split "avg,max" into its pools; None, which means the backbone's own, has no pools.

    Raises:
        InputError: there is a pool that no backbone has, or one twice.
    """
    if pool is None:
        return ()
    pools = tuple(pool.split(","))
    for each in pools:
        if each not in POOLS:
            raise InputError(f"unknown pool {each!r}: choose from {', '.join(POOLS)}")
        if pools.count(each) > 1:
            raise InputError(f"the pool {each!r} occurs twice in {pool!r}: name each once")
    return pools


def resolved(name: str, pools: tuple[str, ...], own: str) -> tuple[str, ...]:
    """Put the name of the backbone's own pool in the place of "own"; no pools mean just that.

    Raises:
        InputError: two names mean the same.
    """
    found = tuple(own if pool == "own" else pool for pool in pools) or (own,)
    if len(set(found)) < len(found):
        raise InputError(f"the pool 'own' of {name} is {own!r}, which is named, too: name one")
    return found


def stacked(name: str, vectors: dict[str, Tensor]) -> Tensor:
    """Put the vectors (B, F) of each pool together.

    Returns:
        (B, P, F); a single pool stays (B, F).

    Raises:
        InputError: their lengths differ.
    """
    lengths = {pool: vector.shape[1] for pool, vector in vectors.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{pool} {length}" for pool, length in lengths.items())
        raise InputError(
            f"the pools of {name} differ in length ({told}): extract them into stores of their own"
        )
    first, *others = vectors.values()
    return torch.stack([first, *others], dim=1) if others else first


def unsupported(name: str, pool: str, reason: str) -> InputError:
    """Make the error for a pool that this backbone cannot give."""
    return InputError(f"{name} has no pool {pool!r}: {reason}")
