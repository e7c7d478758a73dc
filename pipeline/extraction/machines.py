"""Where an extraction runs: on this machine, or on those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from cache.errors import InputError
from cache.stored import ChunkFiles
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.embed import pick_device, precision_of
from pipeline.extraction.job import Job, Step

ENGINES = ("local", "ray")


class Machines(Protocol):
    """What does the job of an extraction.

    Attributes:
        device: where the network runs, "cpu", "cuda" or "mps".
        precision: number format of the network's arithmetic there.
    """

    @property
    def device(self) -> str:
        """Return the device's kind."""

    @property
    def precision(self) -> str:
        """Return "float32" or "bfloat16"."""

    def run(
        self,
        job: Job,
        backbone: Backbone,
        chunks: Sequence[tuple[int, range]],
        files: ChunkFiles,
        *,
        remark: Callable[[str], None],
    ) -> Generator[Step, None, None]:
        """Make chunks, see `Job.run`; in any order."""


@dataclass(frozen=True)
class ThisMachine:
    """The process that asks; see `Machines`."""

    device: str
    precision: str

    def run(
        self,
        job: Job,
        backbone: Backbone,
        chunks: Sequence[tuple[int, range]],
        files: ChunkFiles,
        *,
        remark: Callable[[str], None],
    ) -> Generator[Step, None, None]:
        """See `Job.run`."""
        return job.run(backbone, chunks, files, remark=remark)


@contextmanager
def machines(
    engine: str, *, address: str | None, device: str, workers: int | None
) -> Iterator[Machines]:
    """Offer the machines of an engine for as long as the context lasts.

    Args:
        engine: one of `ENGINES`.
        address: of a Ray cluster, see `pipeline.extraction.cluster.connection.joined`.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Ray workers; None is as many as there is room for.

    Raises:
        InputError: an argument does not fit, Ray is not installed, or no cluster is there.
    """
    check_engine(engine, address)
    if engine == "local":
        chosen = pick_device(device)
        yield ThisMachine(chosen.type, precision_of(chosen))
    else:
        from pipeline.extraction.cluster.connection import joined

        with joined(address, device=device, workers=workers) as cluster:
            yield cluster


def check_engine(engine: str, address: str | None) -> None:
    """Look at what can be told without a connection.

    Raises:
        InputError: the engine is unknown, not installed, or does not go with the address.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    if engine == "local" and address is not None:
        raise InputError(
            f"--ray-address {address} is for --engine ray, this is --engine {engine}: "
            "give both, or neither"
        )
    if engine == "ray" and find_spec("ray") is None:
        raise InputError(
            "--engine ray needs Ray, which is not installed: pip install 'dml[ray]', or leave "
            "--engine out"
        )
    if address is not None and address.startswith("ray://"):
        raise InputError(
            f"--ray-address {address} is a port for Ray's clients: run dml on a machine of the "
            "cluster, with --ray-address auto or HOST:PORT of its head"
        )
