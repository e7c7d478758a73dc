"""Views, dropout and noise: what a step in training sees of its rows, other in every step.

    x' = m (x + s r z) / (1 - p),   m = 1 with probability 1 - p, else 0;   z normal

p = dropout; s = the noise; r = root mean square deviation of a feature over the training rows; x =
the row's features, with views those of one of its pictures. Nothing is drawn: each picture, m and z
is made of a hash of the run's seed, the number of its updates so far, the row and, but for the
picture, the head that looks and the feature. So a step sees the same alone, stacked with other runs
and after an interruption, on rows in memory and on the disk, in whichever place of a batch; it asks
the host nothing, and where none of it is asked for nothing is computed. What looks at all rows, as
validation does, sees them undisturbed.

Sources: dropout on inputs is that of Srivastava et al. (JMLR 15, 2014), inverted, so that nothing
changes outside of training; noise on inputs as Bishop (Neural Computation 7, 1995) studies it, in
units of the feature's deviation (our choice); the hash is the 32-bit finaliser of Thomas Mueller,
from memory.
"""

from __future__ import annotations

from contextlib import closing

import torch
from torch import Tensor

from pipeline.program.rows import Rows, tiles

_MASK, _FACTOR = 2**32 - 1, 0x45D9F3B  # the factor is small enough for int64
_PICTURE = 0  # stream of the run
_DROPOUT, _NOISE = 1, 2  # streams of a head


def begin(
    features: Rows, seed: int, *, dropout: float, noise: float, pictures: int = 1
) -> dict[str, Tensor]:
    """Collect what a run's disturbance depends on; nothing where there is none.

    Args:
        features: (N, F) transformed, the training rows.
        seed: of the disturbance.
        dropout: p, at least 0, below 1.
        noise: s, at least 0.
        pictures: of each row, of which a step sees one.

    Returns:
        "seed" () int64; "pictures" () int64, where there are several; "dropout" () float32, where
        there is dropout; "deviation" (F,) float32, s r of each feature, where there is noise.
    """
    if not dropout and not noise and pictures == 1:
        return {}
    device = features.device
    found = {"seed": torch.tensor(seed & _MASK, device=device)}
    if pictures > 1:
        found["pictures"] = torch.tensor(pictures, device=device)
    if dropout:
        found["dropout"] = torch.tensor(dropout, device=device)
    if noise:
        found["deviation"] = noise * _deviation(features)
    return found


def pictured(numbers: Tensor, strength: dict[str, Tensor], clock: Tensor, count: int) -> Tensor:
    """Choose one of the pictures of each row, all with the same probability.

    Args:
        numbers: (B,) int64, row numbers.
        strength: as `begin` collects it.
        clock: () float, updates of the run so far.
        count: number of rows N.

    Returns:
        (B,) where the chosen pictures are, if all rows lie picture by picture, (P N, F).
    """
    if "pictures" not in strength:
        return numbers
    key = _mixed(_mixed(strength["seed"]) ^ clock.long())
    drawn = _mixed(_mixed((key + _PICTURE) & _MASK) ^ numbers)
    return numbers + count * (drawn % strength["pictures"])


def disturbed(
    rows: Tensor, strength: dict[str, Tensor], clock: Tensor, numbers: Tensor, head: int
) -> Tensor:
    """Disturb a batch.

    Args:
        rows: (B, F) transformed features.
        strength: as `begin` collects it.
        clock: () float, updates of the run so far.
        numbers: (B,) int64, which rows these are.
        head: which of the run's heads looks.
    """
    if not strength:
        return rows
    key = _mixed(_mixed(strength["seed"]) ^ clock.long())
    if "deviation" in strength:
        z = 2**0.5 * torch.erfinv(_uniform(rows, key + (2 * head + _NOISE), numbers))
        rows = rows + strength["deviation"].to(rows) * z
    if "dropout" in strength:
        p = strength["dropout"].to(rows)
        is_kept = _uniform(rows, key + (2 * head + _DROPOUT), numbers) >= 2 * p - 1
        rows = rows * (is_kept / (1 - p))
    return rows


def _uniform(like: Tensor, key: Tensor, numbers: Tensor) -> Tensor:
    """Make numbers (B, F) between -1 and 1, each an odd multiple of 2**-24: exact in float32."""
    of_rows = _mixed(_mixed(key & _MASK) ^ numbers)  # (B,)
    of_features = _mixed(torch.arange(1, like.shape[1] + 1, device=like.device))  # (F,)
    bits = _mixed(of_rows[:, None] ^ of_features)  # (B, F)
    return ((bits >> 7 | 1) - 2**24).to(like.dtype) * 2.0**-24


def _mixed(values: Tensor) -> Tensor:
    """Hash int64 numbers from 0 to 2**32 - 1 to such numbers, one to one."""
    for _ in range(2):
        values = ((values >> 16) ^ values) * _FACTOR & _MASK
    return (values >> 16) ^ values


def _deviation(features: Rows) -> Tensor:
    """Measure each feature's root mean square deviation, (F,) float32, in one pass.

    Transformed rows are centred, so float64 sums lose nothing.
    """
    # Apple's devices have no float64.
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    sums, squares = torch.zeros(2, features.shape[1], dtype=torch.float64, device=device)
    with closing(tiles(features)) as parts:
        for tile in parts:
            rows = tile.to(device).double()
            sums += rows.sum(dim=0)
            squares += rows.square().sum(dim=0)
    count = len(features)
    variance = squares / count - (sums / count).square()
    return torch.sqrt(variance.clamp_min(0)).float().to(features.device)
