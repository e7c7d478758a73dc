"""Fits a transform to training rows: streamed, with float64 sums, in one pass or in two.

Sources, from memory: the power (signed square root for p = 0.5) is that of Perronnin, Sanchez and
Mensink (ECCV 2010) for Fisher vectors, and near to RootSIFT (Arandjelovic and Zisserman, CVPR
2012), which takes the root of descriptors of sum 1. Whitening by PCA as Jegou and Chum (ECCV 2012)
do it for retrieval; the shrunk covariance is that of Ledoit and Wolf (J. of Multivariate Analysis
88, 2004). Ours: every chain ends at mean 0 and unit mean square over rows and features together,
so that a head's learning rate means the same behind each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipeline.transforms.chain import Chain
from pipeline.transforms.covariance import covariance
from pipeline.transforms.directions import directions
from pipeline.transforms.transform import Transform, powered

Parts = Callable[[], Iterable[Tensor]]


def fit(spec: str, parts: Parts) -> Transform:
    """Fit a transform to rows.

    Args:
        spec: a chain, see `pipeline.transforms.chain`.
        parts: begins a walk through the rows (T, F) of any float type, at least one row in all;
            it is walked once, and once more for a chain with `whiten` or `pca`.

    Raises:
        InputError: the chain cannot be read, or keeps more directions than there are features.
    """
    chain = Chain.parse(spec)
    base = _centred(chain, parts())
    if not chain.has_matrix:
        return base
    chain.width(len(base.mean))
    found = covariance(base(part) for part in parts())
    matrix = directions(found, chain.whiten, chain.pca).float().contiguous()
    return Transform(base.power, base.mean, base.scale, matrix.to(base.mean.device))


def _centred(chain: Chain, parts: Iterable[Tensor]) -> Transform:
    """Measure mean and scale in one pass.

    Float64 sums of the deviations from the first row: nothing cancels.

    Features after a ReLU are non-negative, so raw cosines are high between all classes: the mean
    has to go. One scale for all features, not one each, is the usual: dividing by each feature's
    own deviation raises the noise of the weak ones, and trained heads then follow wrong labels
    more readily (our choice, on the validation rows of the Grocery photos). Constant features get
    the scale 1.
    """
    power = None if chain.power is None else torch.tensor(chain.power)
    count, device = 0, torch.device("cpu")
    origin = sums = squares = torch.zeros(0)
    for part in parts:
        there = part.cpu() if part.device.type == "mps" else part
        if power is not None:
            there = powered(there, power.to(there.device))
        if not count:
            origin, device = there[0].double(), part.device
            sums, squares = torch.zeros_like(origin), torch.zeros_like(origin)
        deviations = there - origin
        sums += deviations.sum(dim=0)
        squares += deviations.square_().sum(dim=0)
        count += len(part)
    shift = sums / count
    mean = (origin + shift).float().to(device)
    variances = (squares / count - shift.square()).clamp_min(0)
    if not chain.is_standardised:
        variances = variances.mean()
    scale = variances.sqrt().float().to(device)
    size = mean.abs() if chain.is_standardised else mean.abs().max()
    scale = torch.where(scale <= 1e-6 * (1 + size), torch.ones_like(scale), scale)
    return Transform(None if power is None else power.to(device), mean, scale, None)
