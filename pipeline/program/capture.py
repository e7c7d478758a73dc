"""Several steps as one launch: on CUDA they are recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.program.sampling import ABSENT

_WARM_UP = 3

Body = Callable[..., None]


class Launch:
    """Calls a body that changes tensors in place; on CUDA, replays what it did at its first call.

    A replay reads and writes the very memory of the recording. So the body has to change tensors in
    place, ask the host nothing, and make the same operations every time; its arguments are copied
    to where those of the recording were. Called with absent rows and paused runs, it has to change
    nothing: that is how it is warmed up.
    """

    def __init__(self, body: Body, device: torch.device) -> None:
        """Wrap a body.

        Args:
            body: is called as body(index, rates, sums).
            device: where its tensors are.
        """
        self._body = body
        self._is_recorded = device.type == "cuda"
        self._recording: _Recording | None = None

    def __call__(self, index: Tensor, rates: Tensor, sums: Tensor) -> None:
        """Take the steps of (R, steps, B) row numbers with (3, R, steps) rates; adds to sums."""
        if not self._is_recorded:
            self._body(index, rates, sums)
            return
        if self._recording is None:
            self._recording = _Recording(self._body, index, rates, sums)
        self._recording.replay(index, rates, sums)


class _Recording:
    """A CUDA graph of a body, and the memory that its arguments have to be in."""

    def __init__(self, body: Body, index: Tensor, rates: Tensor, sums: Tensor) -> None:
        self._index = torch.full_like(index, ABSENT)
        self._rates, self._sums = torch.zeros_like(rates), torch.zeros_like(sums)
        arguments = self._index, self._rates, self._sums
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                body(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            body(*arguments)

    def replay(self, index: Tensor, rates: Tensor, sums: Tensor) -> None:
        self._index.copy_(index)
        self._rates.copy_(rates)
        self._sums.zero_()
        self._graph.replay()
        sums += self._sums
