"""Finding a data set's files below the folder that a user names, and reading its text files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cache.errors import InputError
from pipeline.extraction import containers
from pipeline.extraction.containers import MARK, is_there, join

ARCHIVES = (".zip", ".tar")


def find_base(
    root: Path, marker: str, folders: Sequence[str] = (), *, in_archives: bool = True
) -> str:
    """Find the folder that holds the file `marker`.

    It is the root, one of the folders in it, or the same in an archive that lies in the root or
    is the root.

    Raises:
        InputError: it is nowhere, and the line names what was looked for; or an archive that had
            to be looked into is damaged.
    """
    found = locate(root, marker, folders, in_archives=in_archives)
    if found is None:
        places = ", ".join([str(root), *(str(root / folder) for folder in folders)])
        raise InputError(
            f"no {marker} in {places}: give the data set's own folder with --root{hint(root)}"
        )
    return found


def locate(
    root: Path, marker: str, folders: Sequence[str] = (), *, in_archives: bool = True
) -> str | None:
    """Like `find_base`, but None where the marker is nowhere."""
    for base in _bases(root, folders, in_archives=in_archives):
        if is_there(join(base, marker)):
            return base
    return None


def first_with(bases: Iterable[str], name: str) -> str | None:
    """Return the first base that holds a file, or None."""
    return next((base for base in bases if is_there(join(base, name))), None)


def beside(base: str, folder: str) -> list[str]:
    """List where a folder of images may lie: in the base, or in an archive of its name there."""
    archives = [f"{join(base, folder)}{suffix}{MARK}" for suffix in ARCHIVES]
    if MARK in base:  # no archive in an archive
        archives = []
    return [join(base, folder), *(join(archive, folder) for archive in archives), *archives]


def read_text(path: str) -> str:
    """Read a text file, also one in an archive.

    Raises:
        InputError: it is missing or no UTF-8 text.
    """
    try:
        return containers.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: {error.reason}; get it again") from error
    except OSError as error:
        reason = error.strerror or "not there"
        raise InputError(f"cannot read {path} ({reason}): the data set needs it") from error


def read_lines(path: str) -> list[str]:
    """Read a text file's lines, without line ends and without empty lines."""
    lines = read_text(path).splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_fields(path: str, count: int, *, skip: int = 0) -> Iterator[list[str]]:
    """Yield the fields of each line; the last field takes what is left, with its spaces.

    Args:
        path: a text file with fields between spaces or tabs.
        count: fields of each line.
        skip: header lines.

    Raises:
        InputError: a line has fewer fields.
    """
    for number, line in enumerate(read_lines(path)[skip:], start=skip + 1):
        fields = line.split(maxsplit=count - 1)
        if len(fields) < count:
            raise InputError(
                f"line {number} of {path} is {line[:80]!r}: expected {count} fields, so the file "
                "may be truncated"
            )
        yield fields


def read_labelled(path: str, *, has_commas: bool) -> list[tuple[str, str]]:
    """Read lines of a path and a label; paths may hold spaces and commas.

    Args:
        path: the text file.
        has_commas: whether a line is split at its last comma (at its last space where what
            follows the comma holds a space), or always at its last space.

    Raises:
        InputError: a line has no label.
    """
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        name, separator, label = line.rpartition("," if has_commas else " ")
        if not separator or " " in label.strip():
            name, separator, label = line.rpartition(" ")
        if not separator or not name.strip() or not label.strip():
            raise InputError(
                f"line {number} of {path} is {line[:80]!r}: expected a path, a comma or space, "
                "and a label"
            )
        pairs.append((name.strip(), label.strip()))
    return pairs


def as_number(text: str, file: str) -> int:
    """Read a label that is a number; raises InputError otherwise."""
    if not text.isdecimal():
        raise InputError(f"{file} has the label {text[:80]!r}: expected a number")
    return int(text)


def is_litter(path: str) -> bool:
    """Tell whether a path is one of the `._` files that macOS leaves in archives."""
    return path.rpartition("/")[2].startswith("._")


def _bases(root: Path, folders: Sequence[str], *, in_archives: bool) -> Iterator[str]:
    if root.is_dir():
        yield str(root)
        yield from (str(root / folder) for folder in folders)
    if not in_archives:
        return
    inside = sorted(root.iterdir()) if root.is_dir() else [root]
    for archive in inside:
        if archive.suffix.lower() in ARCHIVES and archive.is_file():
            yield f"{archive}{MARK}"
            yield from (f"{archive}{MARK}{folder}" for folder in folders)


def hint(root: Path) -> str:
    """Say what may be wrong with a root in which nothing was found; begins with a semicolon."""
    if not root.exists():
        return f"; {root} does not exist"
    if root.is_dir():
        for file in sorted(root.iterdir()):
            if file.name.lower().endswith(containers.COMPRESSED):
                return f"; {file.name} there is compressed, so unpack it first"
    return ""
