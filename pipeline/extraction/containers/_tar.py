"""Members of an uncompressed tar archive, as WebDataset shards are."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Collection

from cache.errors import InputError, UnreachableError
from cache.places.urls import Location
from pipeline.extraction.containers._source import open_source, read_part


class TarArchive:
    """A plain tar archive: its headers are read once, then each member is one read.

    An archive without its end mark is refused: it was truncated.
    """

    def __init__(self, file: Location) -> None:
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}  # name -> first byte, number of bytes
        end = 0
        try:
            with open_source(file) as stream:
                with tarfile.open(fileobj=stream, mode="r:") as archive:
                    for member in archive:
                        end = member.offset_data + (member.size if member.isreg() else 0)
                        if member.isreg() and not member.issparse():
                            name = posixpath.normpath(member.name).lstrip("/")
                            self._members[name] = (member.offset_data, member.size)
                length = stream.seek(0, io.SEEK_END)
        except (UnreachableError, FileNotFoundError):
            raise
        except (tarfile.TarError, OSError, EOFError) as error:
            raise _truncated(file, str(error)) from error
        rest = -end % tarfile.BLOCKSIZE
        if length < end + rest + tarfile.BLOCKSIZE:
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
        return read_part(self._file, start, size)


def _truncated(file: Location, reason: str) -> InputError:
    return InputError(
        f"{file} is no whole tar archive ({reason}): it may be truncated, get it again"
    )
