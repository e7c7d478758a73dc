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
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from cache.durable import sync_file
from cache.errors import DmlError, InputError
from cache.layout import LOCK
from cache.stored import ChunkFiles
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.embed import pick_device, precision_of
from pipeline.extraction.job import Job, Step
from pipeline.extraction.worker import Chunk, Premises, Told, Worker

Ray: TypeAlias = Any  # the module, and what it gives

_PATIENCE = 600.0  # seconds without a single worker, until it is said that there is no room
_TICK = 5.0
_TRIES = 3  # workers that one chunk may cost, or that may fail to start one after the other
_SAMPLE = 8  # images that each worker looks for
_MOST_CHUNKS = 64  # of one task; fewer towards the end, so that all workers end together
_TASKS_EACH = 4  # that many would be left for each worker if all were of one size
_MOST_THREADS = 16
_OBJECT_STORE = 1 << 30  # bytes of a Ray on this machine: the weights go through it, no features
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would send the working folder to all workers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class ClusterError(DmlError, RuntimeError):
    """The cluster has no room, or loses its workers again and again."""


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
        crew = _Crew(
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
    ray = _ray()
    was_there = ray.is_initialized()
    if not was_there:
        _connect(ray, address, workers if address is None and device == "cpu" else None)
    try:
        yield _sized_up(ray, address, device, workers)
    finally:
        if not was_there:
            ray.shutdown()


def _ray() -> Ray:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


def _connect(ray: Ray, address: str | None, cores: int | None) -> None:
    options: dict[str, Any] = {"address": address or "local"}
    if address is None:
        options |= {
            "num_cpus": cores,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise InputError(
            f"cannot reach {where}: {_line(error)}: start it with `ray start`, or correct "
            "--ray-address"
        ) from error


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
        precision: str = cluster.ray.get(ref, timeout=_PATIENCE)
    except cluster.ray.exceptions.GetTimeoutError as error:
        raise _no_room() from error
    except cluster.ray.exceptions.RayError as error:
        raise ClusterError(
            f"a Ray worker cannot start: {_line(error)}: install the same dml on all machines of "
            "the cluster"
        ) from error
    return precision


def _precision_there(device: str) -> str:
    return precision_of(pick_device(device))


@dataclass(eq=False)
class _Hand:
    """One worker: starting, idle or at its chunks.

    Attributes:
        actor: Ray's handle.
        failures: how many before it failed to start, one after the other.
        is_ready: whether it has looked around.
        promise: what Ray gives for the call that it is at; None = it is idle.
        chunks: what it was given and has not finished.
    """

    actor: Any
    failures: int = 0
    is_ready: bool = False
    promise: Any = None
    chunks: deque[Chunk] = field(default_factory=deque)


@dataclass(eq=False, kw_only=True)
class _Crew:
    """All workers of one job, and what is still to be done."""

    ray: Ray
    hire: Callable[[], Any]
    job: Job
    queue: deque[Chunk]
    remark: Callable[[str], None]
    hands: list[_Hand] = field(default_factory=list)
    lost_over: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    has_finished: bool = False  # at least one chunk
    processors: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def work(self, count: int) -> Iterator[Step]:
        """Let `count` workers make all chunks."""
        for _ in range(count):
            self._start(failures=0)
        seen = time.monotonic()
        while self.queue or any(hand.chunks for hand in self.hands):
            self._hand_out()
            awaited = {hand.promise: hand for hand in self.hands if hand.promise is not None}
            ready, _ = self.ray.wait(list(awaited), timeout=_TICK)
            for promise in ready:
                yield from self._hear(awaited[promise])
            if any(hand.is_ready for hand in self.hands):
                seen = time.monotonic()
            elif time.monotonic() - seen > _PATIENCE:
                raise _no_room()
        if self.lost:
            self._say(f"{self.lost} Ray workers were lost, and what they had begun was made anew")

    def dismiss(self) -> None:
        """End all workers, whatever they do."""
        for hand in self.hands:
            self.ray.kill(hand.actor)

    def _start(self, *, failures: int) -> None:
        hand = _Hand(self.hire(), failures)
        hand.promise = hand.actor.look.remote()
        self.hands.append(hand)

    def _hand_out(self) -> None:
        for hand in self.hands:
            if hand.promise is None and self.queue:
                hand.chunks.extend(self._task())
                rows = range(hand.chunks[0][1].start, hand.chunks[-1][1].stop)
                make = hand.actor.make.options(num_returns="streaming")
                hand.promise = make.remote(self.job.part(rows), list(hand.chunks))

    def _task(self) -> list[Chunk]:
        """Take neighbouring chunks off the queue; one that was lost before goes alone."""
        share = len(self.queue) // (_TASKS_EACH * len(self.hands))
        task = [self.queue.popleft()]
        if self.lost_over[task[0][0]]:
            return task
        while self.queue and len(task) < min(share, _MOST_CHUNKS):
            number, rows = self.queue[0]
            if rows.start != task[-1][1].stop or self.lost_over[number]:
                break
            task.append(self.queue.popleft())
        return task

    def _hear(self, hand: _Hand) -> Iterator[Step]:
        """Take what a worker has to say, or learn that it is gone."""
        errors = self.ray.exceptions
        try:
            told: Told = self.ray.get(next(hand.promise) if hand.is_ready else hand.promise)
        except StopIteration:
            hand.promise = None
            if hand.chunks:
                self._lose(hand, "it ended too early")
        except errors.RayTaskError:
            raise  # a fault of this program
        except errors.RayError as error:
            self._lose(hand, _line(error))
        else:
            if not hand.is_ready:
                self._welcome(hand, told)
            elif isinstance(told, DmlError):
                raise told
            elif isinstance(told, str):
                self._say(told)
            else:
                hand.chunks.popleft()
                self.has_finished = True
                yield told

    def _welcome(self, hand: _Hand, told: Told) -> None:
        """Take a worker that has looked around, or leave it out."""
        if isinstance(told, DmlError):
            if not self.has_finished:
                raise told
            self._say(f"left out: {told}")
            self._drop(hand)
            return
        hand.is_ready, hand.promise = True, None
        self.processors.add(str(told))
        if len(self.processors) > 1:
            kinds = ", ".join(sorted(self.processors))
            self._say(f"the workers compute on {kinds}: the last bits of the features may differ")

    def _lose(self, hand: _Hand, reason: str) -> None:
        """Put back what a lost worker had, and hire another one."""
        self._drop(hand)
        failures = 0 if hand.is_ready else hand.failures + 1
        if hand.is_ready:
            self.lost += 1
        if hand.chunks:
            number, rows = hand.chunks[0]
            self.lost_over[number] += 1
            if self.lost_over[number] == _TRIES:
                raise _lost_over(self.job.part(rows), reason)
            self.queue.extendleft(reversed(hand.chunks))
        if failures < _TRIES:
            self._start(failures=failures)
        elif not self.hands:
            raise ClusterError(
                f"no Ray worker can start: {reason}: install the same dml on all machines of the "
                "cluster, and look into Ray's logs"
            )

    def _drop(self, hand: _Hand) -> None:
        self.ray.kill(hand.actor)
        self.hands.remove(hand)

    def _say(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            self.remark(line)


def _lost_over(job: Job, reason: str) -> ClusterError:
    return ClusterError(
        f"{_TRIES} Ray workers were lost over the images {job.ids[0]} to {job.ids[-1]} ({reason}): "
        "what was finished is kept; give each worker more memory, or look at these images, and run "
        "the same command again"
    )


def _no_room() -> ClusterError:
    return ClusterError(
        f"no worker of the Ray cluster became free within {_PATIENCE / 60:.0f} minutes: other jobs "
        "have its cores or GPUs; try again later, what was finished is kept"
    )


def _line(error: BaseException) -> str:
    """Return the last line of a message that says something, for Ray's are long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else type(error).__name__
