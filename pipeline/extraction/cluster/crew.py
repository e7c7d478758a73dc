"""The workers of a Ray cluster that share one job, and what happens when one of them is lost."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cache.errors import DmlError
from pipeline.extraction.cluster.worker import Chunk, Told
from pipeline.extraction.job import Job, Step

PATIENCE = 600.0  # seconds without a single worker, until it is said that there is no room
_TICK = 5.0
_TRIES = 3  # workers that one chunk may cost, or that may fail to start one after the other
_MOST_CHUNKS = 64  # of one task; fewer towards the end, so that all workers end together
_TASKS_EACH = 4  # that many would be left for each worker if all were of one size


class ClusterError(DmlError, RuntimeError):
    """The cluster has no room, or loses its workers again and again."""


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
class Crew:
    """All workers of one job, and what is still to be done.

    Attributes:
        ray: the module, connected.
        hire: starts a worker, an actor of the class `pipeline.extraction.cluster.worker.Worker`.
        job: of all chunks.
        queue: the chunks that nobody has been given.
        remark: is called with each line about something unusual, once.
        hands: the workers.
        lost_over: chunk -> workers that were lost while they made it.
        lost: workers that were lost after they had begun.
        has_finished: whether at least one chunk is finished.
        processors: the kinds that the workers have.
        said: the remarks that were made.
    """

    ray: Any
    hire: Callable[[], Any]
    job: Job
    queue: deque[Chunk]
    remark: Callable[[str], None]
    hands: list[_Hand] = field(default_factory=list)
    lost_over: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    has_finished: bool = False
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
            elif time.monotonic() - seen > PATIENCE:
                raise no_room()
        if self.lost:
            workers = "1 Ray worker was" if self.lost == 1 else f"{self.lost} Ray workers were"
            self._say(f"{workers} lost; what was begun there was made anew")

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
            self._lose(hand, last_line(error))
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
            if not self.has_finished or len(self.hands) == 1:
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


def no_room() -> ClusterError:
    """Return the error for a cluster that others have."""
    return ClusterError(
        f"no worker of the Ray cluster became free within {PATIENCE / 60:.0f} minutes: other jobs "
        "have its cores or GPUs; try again later, what was finished is kept"
    )


def last_line(error: BaseException) -> str:
    """Return the last line of a message that says something, for Ray's are long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else type(error).__name__
