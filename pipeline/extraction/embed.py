"""Image files through a frozen backbone, decoding ahead of the network in bounded memory."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.images import Transform, UnreadableImageError, decode, normalise, prepare

DEVICES = ("auto", "cpu", "cuda", "mps")
_MOST_WORKERS = 16
_SPARE_BATCHES = 2  # begun beyond one for each worker, so that no worker waits for the network

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """Some files on their way through the network.

    Attributes:
        files: which files, by their place in the list.
        values: (B, 3, H, W) uint8 pixels before the network, (B, F) float32 features after it;
            those of unreadable files have no meaning.
        unreadable: file -> why it cannot be read.
    """

    files: range
    values: NDArray[np.uint8] | NDArray[np.float32]
    unreadable: dict[int, str]


def embed_files(
    backbone: Backbone,
    paths: Sequence[str],
    runs: Iterable[range],
    *,
    root: Path,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int | None,
) -> Generator[Batch, None, None]:
    """Embed files, batch by batch, in order.

    On a CPU each thread decodes and runs the network on its own batches: that needs no
    barriers between the cores, and `batch_size` is shared by the threads. Otherwise the threads
    decode, and the network runs in the calling thread. Close the iterator to stop the threads.

    Args:
        backbone: the network; it is moved to the device.
        paths: the files.
        runs: which of them to embed; a batch never crosses the end of a run, so that the
            features do not depend on the other runs.
        root: folder that relative paths start from.
        device: where the network runs.
        precision: "float32" or "bfloat16".
        batch_size: images that are in the network at the same time.
        workers: number of threads; None is one for each core, at most 16.
    """
    is_cpu = device.type == "cpu"
    cores = torch.get_num_threads() if is_cpu else os.cpu_count() or 1
    workers = workers or min(cores, _MOST_WORKERS)
    size = -(-batch_size // workers) if is_cpu else batch_size
    batches = (run[i : i + size] for run in runs for i in range(0, len(run), size))
    backbone.network.to(device=device).to(memory_format=torch.channels_last)

    def load(files: range) -> Batch:
        return _load(files, [root / paths[file] for file in files], backbone.transform)

    def embed(batch: Batch) -> Batch:
        return _embed(batch, backbone, device, precision)

    with _threads(workers, max(1, cores // workers) if is_cpu else None) as pool:
        limit = workers + _SPARE_BATCHES
        if is_cpu:
            yield from _ahead(pool, lambda files: embed(load(files)), batches, limit)
        else:
            yield from map(embed, _ahead(pool, load, batches, limit))


def pick_device(name: str) -> torch.device:
    """Return the device of this name; "auto" is cuda, else mps, else cpu.

    Raises:
        InputError: there is no such device on this machine.
    """
    has = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, is_there in has.items() if is_there)
    if name not in has:
        raise InputError(f"unknown device {name!r}: choose from {', '.join(DEVICES)}")
    if not has[name]:
        there = ", ".join(kind for kind, is_there in has.items() if is_there)
        raise InputError(f"this machine has no device {name!r}, only {there}")
    return torch.device(name)


def precision_of(device: torch.device) -> str:
    """Return "bfloat16" where the hardware multiplies bfloat16 natively, otherwise "float32"."""
    if device.type == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # `mkldnn._is_mkldnn_bf16_supported` would also say yes to slow emulation.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        is_native = device.type == "cpu" and any(
            getattr(torch.cpu, probe, lambda: False)() for probe in probes
        )
    return "bfloat16" if is_native else "float32"


def _load(files: range, paths: Sequence[Path], transform: Transform) -> Batch:
    # Filled as (B, H, W, 3): seen as (B, 3, H, W) that is torch's channels-last.
    pixels = np.zeros((len(files), transform.crop, transform.crop, 3), np.uint8)
    pixels = pixels.transpose(0, 3, 1, 2)
    unreadable = {}
    for place, (file, path) in enumerate(zip(files, paths, strict=True)):
        try:
            pixels[place] = prepare(decode(path), transform)
        except UnreadableImageError as error:
            unreadable[file] = str(error)
    return Batch(files, pixels, unreadable)


def _embed(batch: Batch, backbone: Backbone, device: torch.device, precision: str) -> Batch:
    has_autocast = precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16) if has_autocast else nullcontext():
        pixels = torch.from_numpy(batch.values).to(device)
        features = backbone.embed(normalise(pixels, backbone.transform))
    return Batch(batch.files, features.cpu().numpy(), batch.unreadable)


@contextmanager
def _threads(workers: int, torch_threads: int | None) -> Iterator[ThreadPoolExecutor]:
    """Offer a pool; when an error or an interrupt leaves it, what has not begun is dropped."""
    before = torch.get_num_threads()
    torch.set_num_threads(torch_threads or before)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="embed")
    try:
        with warnings.catch_warnings():
            # Of odd metadata and large pictures; what matters is found by `decode`.
            warnings.filterwarnings("ignore", module="PIL")
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], limit: int
) -> Iterator[R]:
    """Yield work(item) in order, with at most `limit` items begun and not yet taken."""
    begun: deque[Future[R]] = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) == limit:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
