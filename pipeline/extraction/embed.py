"""Image files through a frozen backbone, decoding ahead of the network in bounded memory."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from cache.errors import DmlError, InputError
from cache.places.urls import Location
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.loading import Loaded, Source, load
from pipeline.extraction.overlap import Batch, batch_of, compiled, embed_overlapped, run_views
from pipeline.extraction.pictures.views import Augmentation

UNREADABLE = ("skip", "stop")
DEVICES = ("auto", "cpu", "cuda", "mps")
_MOST_WORKERS = 16
_BATCH = 64
_CPU_BATCH = 8  # of 4 to 32 about the fastest: the maps between the layers stay in the cache
# Compiling takes about a minute. It must not depend on what is left to do: rounding differs.
_COMPILED_FROM = 20_000
_SPARE_BATCHES = 2  # begun beyond one for each worker, so that no worker waits for the network

T = TypeVar("T")
R = TypeVar("R")


class UnreadableFileError(DmlError, ValueError):
    """An image cannot be read, and the extraction was to stop at the first such one."""


def embed_files(
    backbone: Backbone,
    paths: Sequence[str],
    runs: Iterable[range],
    *,
    ids: Sequence[str],
    root: Location,
    device: torch.device,
    precision: str,
    batch_size: int | None = None,
    workers: int | None = None,
    augmentation: Augmentation | None = None,
    sizes: Sequence[int] | None = None,
    total: int | None = None,
    unreadable: str = "skip",
    remark: Callable[[str], None] = lambda line: None,
) -> Generator[Batch, None, None]:
    """Embed files, batch by batch, in order.

    On a CPU each thread decodes and runs the network on its own batches: that needs no
    barriers between the cores, and the features do not depend on how many there are. Otherwise
    the threads decode, and the calling thread feeds the network, whose batches are padded to one
    size. Close the iterator to stop the threads.

    Args:
        backbone: the network; it is moved to the device.
        paths: the files.
        runs: which of them to embed; a batch never crosses the end of a run, so that the
            features do not depend on the other runs.
        ids: the files' ids, which the random numbers of the views are made of.
        root: folder or URL that relative paths start from.
        device: where the network runs.
        precision: "float32" or "bfloat16".
        batch_size: files that are loaded together, and pictures in the network at the same time
            (the views follow each other), on a CPU for each thread; None is 8 there and 64
            elsewhere.
        workers: number of threads; None is one for each core, at most 16 if they only decode.
        augmentation: further views of each picture; None is none.
        sizes: bytes of each file when it was listed, -1 where there was none: what has changed
            since counts as unreadable. None asks for no such check.
        total: number of files of the whole extraction, if these are a part of them: it decides
            whether the network is compiled.
        unreadable: "skip" lists files that cannot be read, "stop" ends at the first one.
        remark: is called with one line if the network cannot be compiled.

    Raises:
        InputError: `unreadable` is another word.
        UnreadableFileError: a file cannot be read and `unreadable` is "stop".
    """
    if unreadable not in UNREADABLE:
        raise InputError(f"unreadable is {unreadable!r}, expected one of {', '.join(UNREADABLE)}")
    is_cpu, is_cuda = device.type == "cpu", device.type == "cuda"
    cores = torch.get_num_threads() if is_cpu else min(os.cpu_count() or 1, _MOST_WORKERS)
    workers = workers or cores
    size = batch_size or (_CPU_BATCH if is_cpu else _BATCH)
    batches = (run[i : i + size] for run in runs for i in range(0, len(run), size))
    backbone.network.to(device=device).to(memory_format=torch.channels_last)
    if is_cuda and (total or len(paths)) >= _COMPILED_FROM:
        backbone = compiled(backbone, device=device, precision=precision, size=size, remark=remark)
    source = Source(
        paths=paths,
        ids=ids,
        root=root,
        transform=backbone.transform,
        augmentation=augmentation or Augmentation(views=0),
        sizes=sizes,
    )

    def loaded(files: range) -> Loaded:
        return load(files, source, size=len(files) if is_cpu else size, is_pinned=is_cuda)

    def embedded(files: range) -> Batch:
        batch = loaded(files)
        return batch_of(batch, run_views(backbone, batch.pixels, precision))

    with _threads(workers, 1 if is_cpu else None) as pool:
        limit = workers + _SPARE_BATCHES
        if is_cpu:
            found = _ahead(pool, embedded, batches, limit)
        else:
            decoded = _ahead(pool, loaded, batches, limit)
            found = embed_overlapped(backbone, decoded, device=device, precision=precision)
        for batch in found:
            if batch.unreadable and unreadable == "stop":
                raise _stop(batch.unreadable, ids)
            yield batch


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


def _stop(unreadable: dict[int, str], ids: Sequence[str]) -> UnreadableFileError:
    first = min(unreadable)
    return UnreadableFileError(
        f"{ids[first]} cannot be read: {unreadable[first]}: mend it and go on with --update, or "
        "leave such images out with --unreadable skip; what was finished is kept"
    )


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
