"""Members of a zip archive, each read with a file handle of its own."""

from __future__ import annotations

import posixpath
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from cache.errors import InputError

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, of the extra field
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1


class ZipArchive:
    """A zip archive whose members are stored or deflated, as all usual ones are.

    `zipfile` reads the index; it would share one file handle between threads.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(
                f"{file} is no whole zip archive ({error}): it may be truncated, get it again"
            ) from error
        self._members = {
            posixpath.normpath(info.filename).lstrip("/"): info
            for info in infos
            if not info.is_dir()
        }

    def names(self) -> Collection[str]:
        """List the members' paths."""
        return self._members.keys()

    def has(self, name: str) -> bool:
        """Tell whether there is a member of this path."""
        return posixpath.normpath(name) in self._members

    def size(self, name: str) -> int:
        """Return a member's number of bytes, unpacked."""
        return self._members[posixpath.normpath(name)].file_size

    def read(self, name: str) -> bytes:
        """Unpack one member.

        Raises:
            KeyError: it is not there.
            InputError: it is encrypted, packed in a rare way, or damaged.
        """
        info = self._members[posixpath.normpath(name)]
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise InputError(f"{name} in the zip archive is encrypted or packed in a rare way")
        with self._file.open("rb") as stream:
            stream.seek(info.header_offset)
            header = stream.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or header[:4] != _SIGNATURE:
                raise InputError(f"{name} in the zip archive is damaged")
            _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            stream.seek(name_length + extra_length, 1)
            packed = stream.read(info.compress_size)
        return _unpacked(packed, info)


def _unpacked(packed: bytes, info: zipfile.ZipInfo) -> bytes:
    try:
        is_stored = info.compress_type == zipfile.ZIP_STORED
        content = packed if is_stored else zlib.decompress(packed, -zlib.MAX_WBITS, info.file_size)
    except zlib.error as error:
        raise InputError(f"{info.filename} in the zip archive is damaged: {error}") from error
    if zlib.crc32(content) != info.CRC:
        raise InputError(f"{info.filename} in the zip archive is damaged: wrong checksum")
    return content
