"""Feature files of other programs: one file a format, each found by the suffixes that it names.

A format is a module with `SUFFIXES`, `read(path)` and, where it can hold features with their ids
and labels, `write(path, content)`. Both go through the rows in blocks and never hold all features.
What a file holds is named arrays, whose first axis is the rows; our own exports hold `features`
(N, F), `ids`, `paths`, `labels` and, where known, `split`, `superlabels`, `true_labels`, all texts,
and under the name `dml` a JSON text with the features' fingerprint.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from cache.errors import DiskFullError, DmlError, InputError
from cache.formats._content import Block, CellError, Content, Form, Source, reading_file, regrouped
from cache.places.durable import sync_file, sync_folder

__all__ = [
    "Block",
    "CellError",
    "Content",
    "Form",
    "Source",
    "check_target",
    "open_file",
    "regrouped",
    "write_file",
]


@contextmanager
def open_file(path: Path) -> Iterator[Source]:
    """Open a file for reading.

    Raises:
        InputError: it is missing, of an unknown kind, or damaged.
    """
    module = _format_of(path, verb="read")
    if not path.is_file():
        raise InputError(f"there is no file {path}: expected {_known('read')}")
    with reading_file(path):
        opened = module.read(path)
        source: Source = opened.__enter__()
    try:
        yield source
    finally:
        opened.__exit__(None, None, None)


def check_target(path: Path, *, is_forced: bool) -> None:
    """Refuse a place that cannot be exported to, before any work.

    Raises:
        InputError: the suffix is unknown, or there is something already.
    """
    _format_of(path, verb="write")
    if path.is_dir():
        raise InputError(f"{path} is a folder: choose another name")
    if os.path.lexists(path) and not is_forced:
        raise InputError(f"{path} exists: choose another name, or overwrite it with --force")


def write_file(path: Path, content: Content, *, is_forced: bool = False) -> tuple[Path, ...]:
    """Write a file in one step: a reader sees all of it or what was there before.

    Args:
        path: its suffix decides the format.
        content: what goes in; its blocks are taken once.
        is_forced: whether files that are there are replaced.

    Returns:
        The file, and others that the format needs beside it.

    Raises:
        InputError: the place is refused by `check_target`, or cannot be written to.
        DiskFullError: there is no room; nothing is left behind.
    """
    check_target(path, is_forced=is_forced)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        _format_of(path, verb="write").write(part / path.name, content)
        return _moved(part, path, is_forced=is_forced)
    except OSError as error:
        if isinstance(error, DmlError):
            raise
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _moved(part: Path, path: Path, *, is_forced: bool) -> tuple[Path, ...]:
    """Move all files of a finished export to their place; the one that was asked for comes last."""
    names = sorted((each.name for each in part.iterdir()), key=lambda name: name == path.name)
    targets = [path.with_name(name) for name in names]
    for target in targets:
        check_target(target, is_forced=is_forced)
    for name, target in zip(names, targets, strict=True):
        sync_file(part / name)
        (part / name).replace(target)
    sync_folder(path.parent)
    return tuple(reversed(targets))


def _not_written(path: Path, error: OSError) -> DmlError:
    reason = (error.strerror or str(error)).partition("\n")[0].rpartition("] ")[2].lower()
    kind = InputError if isinstance(error, PermissionError | NotADirectoryError) else DiskFullError
    return kind(
        f"cannot write {path}: {reason}; nothing of it is left: make room, or choose another place"
    )


def _format_of(path: Path, *, verb: str) -> ModuleType:
    module = _formats().get(path.suffix.lower())
    if module is None or not hasattr(module, verb):
        raise InputError(f"{path} is not a kind of file to {verb}: expected {_known(verb)}")
    return module


@cache
def _formats() -> dict[str, ModuleType]:
    """Find every format by its suffixes."""
    names = [each.name for each in pkgutil.iter_modules(__path__) if each.name[0] != "_"]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in sorted(names)]
    return {suffix: module for module in modules for suffix in module.SUFFIXES}


def _known(verb: str) -> str:
    return ", ".join(suffix for suffix, module in _formats().items() if hasattr(module, verb))
