"""Members of an uncompressed tar archive, as WebDataset shards are."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Collection
from pathlib import Path

from cache.errors import InputError


class TarArchive:
    """A plain tar archive: its headers are read once, then each member is one read.

    An archive without its end mark is refused: it was truncated.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}  # name -> first byte, number of bytes
        end = 0
        try:
            with tarfile.open(file, "r:") as archive:
                for member in archive:
                    end = member.offset_data + (member.size if member.isreg() else 0)
                    if member.isreg() and not member.issparse():
                        name = posixpath.normpath(member.name).lstrip("/")
                        self._members[name] = (member.offset_data, member.size)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise _truncated(file, str(error)) from error
        rest = -end % tarfile.BLOCKSIZE
        if file.stat().st_size < end + rest + tarfile.BLOCKSIZE:
            raise _truncated(file, "its end is missing")

    def names(self) -> Collection[str]:
        """List the members' paths."""
        return self._members.keys()

    def has(self, name: str) -> bool:
        """Tell whether there is a member of this path."""
        return posixpath.normpath(name) in self._members

    def size(self, name: str) -> int:
        """Return a member's number of bytes."""
        return self._members[posixpath.normpath(name)][1]

    def read(self, name: str) -> bytes:
        """Read one member; raises KeyError if it is not there."""
        start, size = self._members[posixpath.normpath(name)]
        with self._file.open("rb") as stream:
            stream.seek(start)
            return stream.read(size)


def _truncated(file: Path, reason: str) -> InputError:
    return InputError(
        f"{file} is no whole tar archive ({reason}): it may be truncated, get it again"
    )
