"""What a crew of workers does when they fail, with a Ray that is played in this process."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cache.errors import DiskFullError, InputError
from cache.ledger import FinishedChunk
from pipeline.extraction.cluster import crew as crews
from pipeline.extraction.cluster.crew import ClusterError, Crew
from pipeline.extraction.cluster.worker import Chunk
from pipeline.extraction.job import Job, Step
from pipeline.extraction.machines import check_engine
from pipeline.extraction.pictures.views import Augmentation

CHUNKS, CHUNK = 30, 2


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class Look:
    """What Ray promises for a call; `Actor.make` gives a stream instead."""

    def __init__(self, found: Any) -> None:
        self.found = found


class Actor:
    """A worker: what it finds when it looks around, and what it says at each chunk."""

    def __init__(self, found: Any = "CPU", instead: Callable[[int], Any] = lambda _: None) -> None:
        self.tasks: list[tuple[Job, list[Chunk]]] = []
        self.is_alive = True
        self.instead = instead
        self.look = SimpleNamespace(remote=lambda: Look(found))
        self.make = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self.begin))

    def begin(self, job: Job, chunks: list[Chunk]) -> Iterator[Any]:
        self.tasks.append((job, chunks))
        for number, _ in chunks:
            answer = self.instead(number)
            if answer is not None:
                yield answer
            if answer is None or isinstance(answer, str):
                yield Step(CHUNK, FinishedChunk(number, CHUNK, {}, "", {}))


def played_ray() -> Any:
    """The few functions of Ray that are used; what is ready first is drawn by lot."""
    lot = random.Random(0)

    def get(told: Any) -> Any:
        told = told.found if isinstance(told, Look) else told
        if isinstance(told, RayError):
            raise told
        return told

    return SimpleNamespace(
        exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError),
        wait=lambda promises, timeout: ([lot.choice(promises)], []),
        get=get,
        kill=lambda actor: setattr(actor, "is_alive", False),
    )


def crew_of(*actors: Actor, chunks: int = CHUNKS) -> tuple[Crew, list[str]]:
    """A crew that hires these workers, one after the other, and what it remarks."""
    names = [f"{row:03}" for row in range(CHUNK * chunks)]
    job = Job(
        num_rows=len(names),
        paths=names,
        ids=names,
        sizes=[1] * len(names),
        root=Path("photos"),
        augmentation=Augmentation(views=0),
        dtype="float32",
        device="cpu",
        precision="float32",
        batch_size=None,
        workers=1,
        unreadable="skip",
    )
    queue = deque((n, range(CHUNK * n, CHUNK * (n + 1))) for n in range(chunks))
    remarks: list[str] = []
    coming = iter(actors)
    crew = Crew(ray=played_ray(), hire=coming.__next__, job=job, queue=queue, remark=remarks.append)
    return crew, remarks


def numbers(steps: Iterator[Step]) -> list[int]:
    return sorted(step.finished.number for step in steps if step.finished)


def at_the_third(answer: Any) -> Callable[[int], Any]:
    """Say this at the third chunk that a worker is given, whichever that is."""
    answers = iter([None, None, answer])
    return lambda _: next(answers, None)


def test_every_chunk_is_made_once_and_tasks_hold_their_own_rows_alone() -> None:
    actors = Actor(), Actor(), Actor()
    crew, remarks = crew_of(*actors, chunks=200)
    assert numbers(crew.work(3)) == list(range(200))
    assert remarks == []
    tasks = [task for actor in actors for task in actor.tasks]
    for job, chunks in tasks:
        assert job.first == chunks[0][1].start
        assert job.ids == [f"{row:03}" for _, rows in chunks for row in rows]
    sizes = [len(chunks) for _, chunks in tasks]
    assert max(sizes) == 200 // (4 * 3)
    assert sizes.count(1) >= 3  # at the end, so that all workers end together
    crew.dismiss()
    assert not any(actor.is_alive for actor in actors)


def test_the_chunks_of_a_lost_worker_are_made_by_others_and_no_finished_one_again() -> None:
    first = Actor(instead=at_the_third(RayError("the node died")))
    actors = first, Actor(), Actor()
    crew, remarks = crew_of(*actors, chunks=60)
    assert numbers(crew.work(2)) == list(range(60))
    assert remarks == ["1 Ray worker was lost; what was begun there was made anew"]
    assert not first.is_alive


def test_a_chunk_that_loses_three_workers_ends_it_with_its_images() -> None:
    def dies(number: int) -> Any:
        return RayError("The actor died.\n\nout of memory.\n") if number == 5 else None

    crew, _ = crew_of(*[Actor(instead=dies) for _ in range(9)])
    made: list[Step] = []
    with pytest.raises(ClusterError) as refused:
        made.extend(crew.work(2))
    assert str(refused.value).startswith(
        "3 Ray workers were lost over the images 010 to 011 (out of memory): what was finished"
    )
    assert 5 not in numbers(iter(made))
    assert len(made) == len(set(numbers(iter(made))))


def test_an_error_with_a_line_of_its_own_is_that_line() -> None:
    full = DiskFullError("no room")
    crew, _ = crew_of(Actor(instead=lambda number: full if number == 3 else None))
    with pytest.raises(DiskFullError, match="^no room$"):
        numbers(crew.work(1))


def test_what_all_workers_remark_is_said_once() -> None:
    actors = [Actor(instead=lambda _: "the network ran uncompiled") for _ in range(2)]
    crew, remarks = crew_of(*actors)
    assert numbers(crew.work(2)) == list(range(CHUNKS))
    assert remarks == ["the network ran uncompiled"]


def test_a_fault_of_the_program_is_raised_as_it_is() -> None:
    crew, _ = crew_of(Actor(instead=lambda _: RayTaskError("a traceback")))
    with pytest.raises(RayTaskError):
        numbers(crew.work(1))


def test_a_machine_that_cannot_do_the_job_ends_it_at_the_start_and_is_left_out_later() -> None:
    bad = InputError("the Ray worker on x does not see the store")
    crew, _ = crew_of(Actor(found=bad))
    with pytest.raises(InputError, match="does not see the store"):
        numbers(crew.work(1))
    lost = Actor(instead=at_the_third(RayError("gone")))
    crew, remarks = crew_of(lost, Actor(), Actor(found=bad))
    assert numbers(crew.work(2)) == list(range(CHUNKS))
    assert f"left out: {bad}" in remarks


def test_workers_that_never_start_end_it_after_three_attempts() -> None:
    failing = [Actor(found=RayError("No module named 'pipeline'")) for _ in range(6)]
    crew, _ = crew_of(*failing)
    with pytest.raises(ClusterError, match="no Ray worker can start: No module named 'pipeline'"):
        numbers(crew.work(2))
    assert not any(actor.is_alive for actor in failing)


def test_one_worker_that_starts_is_enough() -> None:
    failing = [Actor(found=RayError("broken")) for _ in range(3)]
    crew, remarks = crew_of(failing[0], Actor(), *failing[1:])
    assert numbers(crew.work(2)) == list(range(CHUNKS))
    assert remarks == []


def test_a_cluster_without_room_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "PATIENCE", -1.0)
    crew, _ = crew_of(Actor())
    crew.ray.wait = lambda promises, timeout: ([], promises)
    with pytest.raises(ClusterError, match="no worker of the Ray cluster became free"):
        numbers(crew.work(1))


def test_processors_of_several_kinds_are_remarked() -> None:
    crew, remarks = crew_of(Actor("CPU with AVX2"), Actor("CPU with AVX512"), chunks=60)
    assert numbers(crew.work(2)) == list(range(60))
    kinds = "CPU with AVX2, CPU with AVX512"
    assert remarks == [f"the workers compute on {kinds}: the last bits of the features may differ"]


@pytest.mark.parametrize(
    ("engine", "address", "line"),
    [
        ("spark", None, "unknown engine 'spark': choose from local, ray"),
        ("local", "auto", "--ray-address auto is for --engine ray"),
        ("ray", "ray://head:10001", "is a port for Ray's clients"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(engine: str, address: str | None, line: str) -> None:
    with pytest.raises(InputError, match=line):
        check_engine(engine, address)


def test_without_ray_the_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, dml: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    line = dml("extract photos --engine ray").refusal()
    assert line.startswith("dml: --engine ray needs Ray, which is not installed: pip install 'dml")
