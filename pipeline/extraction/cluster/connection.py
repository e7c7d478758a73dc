"""An extraction on the machines of a Ray cluster, or on this one as if it were a cluster.

The process that asks (the driver) holds the store's lock and alone writes the ledger. Ray workers,
one for each GPU or each core, make whole chunks and write their files; what comes back from them is
only the chunk's line for the ledger. The chunks of a worker that is lost are made by the others.
The features are those of one machine, bit for bit, if the processors are of one kind.

All machines need: the same dml and libraries (and, for `s3://` and the like, the same file system's
package and credentials), the store and the images on a network disk at the same path or at URLs.
Each worker looks at that before it begins.

Ray is an optional extra; it is imported only here, and only when it is asked for.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from cache.errors import InputError
from cache.layout import LOCK
from cache.places.durable import sync_file
from cache.stored import ChunkFiles
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.cluster.crew import PATIENCE, ClusterError, Crew, last_line, no_room
from pipeline.extraction.cluster.worker import Chunk, Premises, Worker
from pipeline.extraction.embed import pick_device, precision_of
from pipeline.extraction.job import Job, Step

Ray: TypeAlias = Any  # the module, and what it gives

_SAMPLE = 8  # images that each worker looks for
_MOST_THREADS = 16
_KNOCK = 10.0  # seconds
_OBJECT_STORE = 1 << 30  # bytes of a Ray on this machine: the weights go through it, no features
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would send the working folder to all workers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what it says of lost nodes would go to standard output
}


@dataclass(frozen=True)
class Cluster:
    """A connection to Ray; see `pipeline.extraction.machines.Machines`.

    Attributes:
        ray: the module.
        device: where the network runs, "cpu" or "cuda".
        precision: number format of the network's arithmetic there.
        workers: how many there shall be.
        threads: of each worker, and the cores that it takes.
    """

    ray: Ray
    device: str
    precision: str
    workers: int
    threads: int

    def run(
        self,
        job: Job,
        backbone: Backbone,
        chunks: Sequence[Chunk],
        files: ChunkFiles,
        *,
        remark: Callable[[str], None],
    ) -> Generator[Step, None, None]:
        """Make chunks, in any order, and write their files; close it to stop the workers.

        Raises:
            ClusterError: workers are lost again and again, or none starts.
            InputError: the first worker that is ready cannot do the job.
            DmlError: what a worker met while it made a chunk.
        """
        if not chunks:
            return
        if isinstance(files.store.path, Path):
            sync_file(files.store.path / LOCK)  # so that other machines see who holds it
        job = replace(job, workers=self.threads)
        premises = Premises.of(job, chunks[0][1][:_SAMPLE], files)
        backbone.network.cpu()
        facts = [self.ray.put(each) for each in (backbone, files, premises)]
        crew = Crew(
            ray=self.ray,
            hire=lambda: self._actor().remote(*facts),
            job=job,
            queue=deque(chunks),
            remark=remark,
        )
        try:
            yield from crew.work(min(self.workers, len(chunks)))
        finally:
            crew.dismiss()

    def _actor(self) -> Any:
        gpus = 1 if self.device == "cuda" else 0
        return self.ray.remote(Worker).options(
            num_cpus=self.threads, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )


@contextmanager
def joined(address: str | None, *, device: str, workers: int | None) -> Iterator[Cluster]:
    """Join a Ray cluster for as long as the context lasts.

    Args:
        address: "auto" is the cluster that this machine belongs to, "HOST:PORT" the one with this
            head; None starts Ray on this machine alone, and ends it.
        device: "cpu" or "cuda"; "auto" is cuda if the cluster has GPUs.
        workers: processes that embed, each on one core or one GPU; None is as many as there is
            room for.

    Raises:
        InputError: there is no such cluster, or it has no such device.
        ClusterError: all of it is taken.
    """
    if device == "mps":
        raise InputError("--engine ray works on cpu and cuda, got --device mps: choose another")
    ray = quiet_ray()
    was_there = ray.is_initialized()
    if not was_there:
        _connect(ray, address, workers if address is None and device == "cpu" else None)
    try:
        yield _sized_up(ray, address, device, workers)
    finally:
        if not was_there:
            ray.shutdown()


def quiet_ray() -> Ray:
    """Import Ray so that it says nothing by itself, neither here nor to its makers."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


def _connect(ray: Ray, address: str | None, cores: int | None) -> None:
    options: dict[str, Any] = {"address": address or "local"}
    if address not in (None, "auto"):
        _knock(str(address))
    if address is None:
        options |= {
            "num_cpus": cores,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except (RuntimeError, ValueError, OSError) as error:
        raise _unreachable(address, last_line(error)) from error


def _knock(address: str) -> None:
    """Ask whether anybody listens there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--ray-address is {address!r}, expected auto or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), _KNOCK).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unreachable(address, last_line(error)) from error


def _unreachable(address: str | None, reason: str) -> InputError:
    if address is None:
        return InputError(f"Ray cannot start on this machine: {reason}: look into its logs")
    if address == "auto":
        return InputError(
            f"this machine belongs to no Ray cluster ({reason}): start it with `ray start`, or "
            "name another one with --ray-address HOST:PORT"
        )
    return InputError(
        f"cannot reach the Ray cluster at {address} ({reason}): start it with `ray start`, or "
        "correct --ray-address"
    )


def _sized_up(ray: Ray, address: str | None, device: str, workers: int | None) -> Cluster:
    """Choose the device, and how many workers of which size there is room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device == "cuda" and not gpus:
        raise InputError(
            f"the Ray cluster has no GPU, only {cores} cores: choose another --device, or start "
            "its machines with GPUs"
        )
    if device == "cpu":
        threads, room = 1, cores
    else:
        shares = [int(node.get("CPU", 1) // node["GPU"]) for node in nodes if node.get("GPU")]
        threads, room = max(1, min(*shares, _MOST_THREADS)), gpus
    cluster = Cluster(ray, device, "", workers or max(1, room), threads)
    return replace(cluster, precision=_precision(cluster, is_here=address is None))


def _precision(cluster: Cluster, *, is_here: bool) -> str:
    """Return how the workers compute; this machine may be of another kind than theirs."""
    if is_here:
        return precision_of(pick_device(cluster.device))
    gpus = 1 if cluster.device == "cuda" else 0
    asked = cluster.ray.remote(_precision_there).options(num_cpus=1, num_gpus=gpus)
    ref = asked.remote(cluster.device)
    try:
        precision: str = cluster.ray.get(ref, timeout=PATIENCE)
    except cluster.ray.exceptions.GetTimeoutError as error:
        raise no_room() from error
    except cluster.ray.exceptions.RayError as error:
        raise ClusterError(
            f"a Ray worker cannot start: {last_line(error)}: install the same dml on all machines "
            "of the cluster"
        ) from error
    return precision


def _precision_there(device: str) -> str:
    return precision_of(pick_device(device))
