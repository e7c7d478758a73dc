"""Matrix products, by whichever library is fast where the matrices are.

On one thread NumPy's BLAS (OpenBLAS) is faster than the one that torch brings (MKL) on the AMD
processor that this was measured on: by 1.4 for the gradient of a head (2048 x 64 by 64 x 512), by
1.6 for that of 4,000 proxies; runs side by side take a tenth less time. On several threads it is
not used: the threads of two libraries get into each other's way, and a step took six times as long.
Both compute in float32 and differ by rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two matrices, (n, m) by (m, k); no gradient goes through this."""
    if _is_plain(left) and _is_plain(right):
        with np.errstate(all="ignore"):  # what diverges is found in the result, as with torch
            return torch.from_numpy(np.matmul(left.detach().numpy(), right.detach().numpy()))
    return left @ right


def _is_plain(matrix: Tensor) -> bool:
    """Tell whether NumPy can see a matrix, and shall: not on a device, under `vmap`, compiling."""
    if torch.compiler.is_compiling() or matrix.device.type != "cpu":
        return False
    if torch.get_num_threads() > 1:
        return False
    is_wide = matrix.dtype in (torch.float32, torch.float64)
    return is_wide and not torch._C._functorch.is_functorch_wrapped_tensor(matrix)
