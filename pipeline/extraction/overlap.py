"""Batches through a network on an accelerator: transfers, network and results overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.backbones._backbone import Backbone
from pipeline.extraction.loading import Loaded
from pipeline.extraction.pictures.images import normalise


@dataclass(frozen=True)
class Batch:
    """The features of some files.

    Attributes:
        files: which files, by their place in the list.
        values: (B, A, F) float32, for each view each pool; those of unreadable files have no
            meaning.
        unreadable: file -> why it cannot be read.
        images: (B, 40) uint8, see `pipeline.extraction.loading.Loaded`.
    """

    files: range
    values: NDArray[np.float32]
    unreadable: dict[int, str]
    images: NDArray[np.uint8]


def run_network(backbone: Backbone, pixels: Tensor, precision: str) -> Tensor:
    """Compute features (B, P, F) float32 of pixels (B, 3, H, W) uint8 on the network's device.

    Normalising stays in float32, whatever the precision of the network is.
    """
    images = normalise(pixels, backbone.transform)
    has_autocast = precision == "bfloat16"
    with torch.autocast(pixels.device.type, torch.bfloat16) if has_autocast else nullcontext():
        return backbone.embed(images)


def run_views(backbone: Backbone, pixels: Tensor, precision: str) -> Tensor:
    """Compute features (B, A, F) float32 of pixels (V + 1, B, 3, H, W) uint8.

    The views follow each other, so that further ones do not change how the first is rounded.
    """
    return torch.cat([run_network(backbone, view, precision) for view in pixels], dim=1)


def compiled(
    backbone: Backbone,
    *,
    device: torch.device,
    precision: str,
    size: int,
    remark: Callable[[str], None],
) -> Backbone:
    """Compile a backbone for batches of one size.

    Args:
        backbone: it is on the device already.
        device: where it runs.
        precision: "float32" or "bfloat16".
        size: number of pictures in every batch.
        remark: is called with one line if the network cannot be compiled.

    Returns:
        The compiled backbone, or the given one if that is refused.
    """
    # Of a module it makes a module, whatever its annotation says.
    network = cast(nn.Module, torch.compile(backbone.network, dynamic=False))
    candidate = replace(backbone, network=network)
    side = backbone.transform.crop
    blank = torch.zeros((size, side, side, 3), dtype=torch.uint8, device=device)
    try:
        run_network(candidate, blank.permute(0, 3, 1, 2), precision)
    # No C compiler, an old GPU, an operator it does not know: each fails in its own way.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        remark(f"the network ran uncompiled, because torch.compile failed: {reason}")
        return backbone
    return candidate


def embed_overlapped(
    backbone: Backbone, batches: Iterable[Loaded], *, device: torch.device, precision: str
) -> Iterator[Batch]:
    """Embed batches in order; each result is awaited when the next batch is under way.

    So the device is never idle while its results are fetched and written. On CUDA the pixels
    travel on a stream of their own, beside the network on the batch before.

    Args:
        backbone: the network, on the device.
        batches: the pixels; for CUDA in pinned memory.
        device: where the network is.
        precision: "float32" or "bfloat16".
    """
    is_cuda = device.type == "cuda"
    copies = torch.cuda.Stream(device) if is_cuda else None  # type: ignore[no-untyped-call]
    begun: Callable[[], Batch] | None = None
    for loaded in batches:
        following = (
            _begin_on_cuda(loaded, backbone, device, precision, copies)
            if copies
            else _begin(loaded, backbone, device, precision)
        )
        if begun:
            yield begun()
        begun = following
    if begun:
        yield begun()


def _begin(
    loaded: Loaded, backbone: Backbone, device: torch.device, precision: str
) -> Callable[[], Batch]:
    features = run_views(backbone, loaded.pixels.to(device), precision)  # (B, A, F)
    return lambda: batch_of(loaded, features.cpu())


def _begin_on_cuda(
    loaded: Loaded,
    backbone: Backbone,
    device: torch.device,
    precision: str,
    copies: torch.cuda.Stream,
) -> Callable[[], Batch]:
    """Queue all work of a batch without waiting; what is returned waits for the features."""
    here = torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        pixels = loaded.pixels.to(device, non_blocking=True)
    here.wait_stream(copies)
    pixels.record_stream(here)  # its memory belongs to the other stream
    features = run_views(backbone, pixels, precision)  # (B, A, F)
    result = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
    result.copy_(features, non_blocking=True)
    is_done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    is_done.record(here)

    def wait() -> Batch:
        is_done.synchronize()
        return batch_of(loaded, result)  # holding `loaded` until now keeps its pinned memory

    return wait


def batch_of(loaded: Loaded, features: Tensor) -> Batch:
    """Join the features (B, A, F) on the CPU with their files; the padding stays behind."""
    values = features[: len(loaded.files)].numpy()
    return Batch(loaded.files, values, loaded.unreadable, loaded.images)
