"""What a process on another machine does for an extraction; it knows nothing of Ray."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

import torch

from cache.errors import DmlError, InputError
from cache.layout import LOCK, Header
from cache.locks.owner import Owner
from cache.places.place import Place
from cache.places.urls import below
from cache.stored import ChunkFiles
from pipeline.backbones._backbone import Backbone
from pipeline.extraction import containers
from pipeline.extraction.embed import pick_device, precision_of
from pipeline.extraction.job import REVISION, Job, Step

Chunk: TypeAlias = tuple[int, range]  # its number, and the rows of it that are to be made
Told: TypeAlias = Step | str | DmlError

_CODE = "revision"  # of the code, where people work with a copy of it


@dataclass(frozen=True)
class Premises:
    """What must be the same wherever a part of the job is done.

    Attributes:
        owner: who holds the store's lock; a worker that reads the same one there sees this store
            and no copy of it.
        versions: library -> its version.
        sample: the job of a few images, which the workers must see.
    """

    owner: Owner | None
    versions: dict[str, str]
    sample: Job

    @classmethod
    def of(cls, job: Job, rows: range, files: ChunkFiles) -> Premises:
        """Describe this process, which holds the store's lock, and a few images, by their rows."""
        versions = installed(files.header.fingerprint.versions)
        return cls(owner_of(files.store), versions, job.part(rows))


class Worker:
    """Makes chunks of one store, as they are asked for."""

    def __init__(self, backbone: Backbone, files: ChunkFiles, premises: Premises) -> None:
        """Take what stays the same from task to task."""
        self._backbone = backbone
        self._files = files
        self._premises = premises

    def look(self) -> str | DmlError:
        """Check the premises; return the kind of processor, or what is wrong here."""
        try:
            _check_versions(self._premises.versions)
            _check_device(self._premises.sample)
            _check_store(self._files, self._premises.owner)
            _check_images(self._premises.sample)
        except DmlError as error:
            return error
        return _processor(self._premises.sample.device)

    def make(self, job: Job, chunks: Sequence[Chunk]) -> Iterator[Told]:
        """Make chunks, one after the other, and write their files.

        Args:
            job: of their rows, at least.
            chunks: which; not empty.

        Yields:
            One step for each chunk that is on the disk, remarks, and what ended it.
        """
        remarks: list[str] = []
        rows = 0
        try:
            with closing(job.run(self._backbone, chunks, self._files, remark=remarks.append)) as it:
                for step in it:
                    rows += step.rows
                    if step.finished:
                        yield Step(rows, step.finished)
                        rows = 0
        except DmlError as error:
            yield error
        yield from remarks


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return library -> version, of those that are installed here; and the code's revision."""
    found = {_CODE: str(REVISION)}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # of a rule in the fingerprint that is no library, too
            continue
    return found


def owner_of(store: Place) -> Owner | None:
    """Return who holds the lock of a store, None if nobody is named there."""
    return Owner.from_json(store.read(LOCK))


def _check_versions(expected: dict[str, str]) -> None:
    found = installed(expected)
    for name, wanted in expected.items():
        if found.get(name) != wanted:
            raise InputError(
                f"the Ray worker on {socket.gethostname()} has {name} "
                f"{found.get(name, 'not at all')}, expected {wanted}: install the same dml and "
                "libraries on all machines"
            )


def _check_device(job: Job) -> None:
    try:
        precision = precision_of(pick_device(job.device))
    except InputError as error:
        raise InputError(f"the Ray worker on {socket.gethostname()} refuses: {error}") from error
    if precision != job.precision:
        raise InputError(
            f"the Ray worker on {socket.gethostname()} computes in {precision}, expected "
            f"{job.precision}: take machines of one kind, the features would differ"
        )


def _check_store(files: ChunkFiles, owner: Owner | None) -> None:
    expected = files.header
    try:
        is_seen = Header.load(files.store) == expected and owner_of(files.store) == owner
    except (DmlError, FileNotFoundError, PermissionError):
        is_seen = False
    if not is_seen:
        raise InputError(
            f"the Ray worker on {socket.gethostname()} does not see the store {files.store}: "
            "choose a --store that all machines share, a network disk at the same path or a URL"
        )


def _check_images(job: Job) -> None:
    """Refuse a machine where none of the images is, before all of them count as unreadable."""
    places = [below(job.root, path) for path in job.paths]
    there = [(place, size) for place, size in zip(places, job.sizes, strict=True) if size >= 0]
    if there and not any(containers.size_of(place) == size for place, size in there):
        raise InputError(
            f"the Ray worker on {socket.gethostname()} does not see the images, for example "
            f"{there[0][0]}: they must lie on a network disk at the same path, or at a URL"
        )


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}"
