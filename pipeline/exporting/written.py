"""A model as the bytes of its file, and what that file computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.generic]], NDArray[np.float32]]


class Written(NamedTuple):
    """A model file that is not on the disk yet.

    Attributes:
        content: of the file.
        run: what the file itself computes, by its own format's program: input -> (B, D).
        facts: what is said of the format in the model card, as plain JSON values.
    """

    content: bytes
    run: Run
    facts: dict[str, object]
