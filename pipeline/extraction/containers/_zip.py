"""Members of a zip archive, each read with a file handle of its own."""

from __future__ import annotations

import posixpath
import struct
import zipfile
import zlib
from collections.abc import Collection

from cache.errors import InputError, UnreachableError
from cache.places.urls import Location
from pipeline.extraction.containers._source import open_source, read_part

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, of the extra field
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1
_EXTRA = 128  # bytes that the extra fields of a member take at most, usually


class ZipArchive:
    """A zip archive whose members are stored or deflated, as all usual ones are.

    `zipfile` reads the index; it would share one file handle between threads.
    """

    def __init__(self, file: Location) -> None:
        self._file = file
        try:
            with open_source(file) as stream, zipfile.ZipFile(stream) as archive:
                infos = archive.infolist()
        except (UnreachableError, FileNotFoundError):
            raise
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
        return _unpacked(self._packed(name, info), info)

    def _packed(self, name: str, info: zipfile.ZipInfo) -> bytes:
        """Read a member as it is stored, by one read where its extra fields are as short as usual.

        Only its own header, in front of it, tells where it begins.
        """
        before = _LOCAL_HEADER.size + len(info.orig_filename.encode()) + _EXTRA
        content = read_part(self._file, info.header_offset, before + info.compress_size)
        if len(content) < _LOCAL_HEADER.size or content[:4] != _SIGNATURE:
            raise InputError(f"{name} in the zip archive is damaged")
        _, name_length, extra_length = _LOCAL_HEADER.unpack_from(content)
        start = _LOCAL_HEADER.size + name_length + extra_length
        packed = content[start : start + info.compress_size]
        if len(packed) < info.compress_size:
            packed = read_part(self._file, info.header_offset + start, info.compress_size)
        return packed


def _unpacked(packed: bytes, info: zipfile.ZipInfo) -> bytes:
    try:
        is_stored = info.compress_type == zipfile.ZIP_STORED
        # No more than the index says: an entry that lies about its size must not fill the memory.
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        content = packed if is_stored else unpacker.decompress(packed, max(1, info.file_size))
    except zlib.error as error:
        raise InputError(f"{info.filename} in the zip archive is damaged: {error}") from error
    if zlib.crc32(content) != info.CRC:
        raise InputError(f"{info.filename} in the zip archive is damaged: wrong checksum")
    return content
