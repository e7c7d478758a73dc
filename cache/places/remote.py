"""A store at a URL: objects that are written whole, by any file system of fsspec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from cache.errors import InputError
from cache.places.attempts import attempt
from cache.places.place import Part
from cache.places.url_files import (
    file_system,
    files_below,
    files_in,
    key_of,
    read_range,
    read_url,
)
from cache.places.urls import located

_MAKING = ".making"  # names the last file of a store that is begun; without it, it is half-made
_GAP = 1 << 20  # bytes between two parts that cost less than one more request


class RemotePlace:
    """A folder at a URL, `s3://bucket/features.zarr`.

    It is what object stores are: a file appears whole or not at all, what was written is seen at
    once by everybody, and a folder is but the beginning of names.
    """

    def __init__(self, url: str) -> None:
        """Take a URL; nothing is looked at.

        Raises:
            InputError: the protocol is unknown, or its package is not installed.
        """
        self._url = str(located(url))
        file_system(self._url)

    @property
    def path(self) -> str:
        """Return the URL."""
        return self._url

    def __str__(self) -> str:
        """Return the URL, for messages."""
        return self._url

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        return read_url(f"{self._url}/{name}")

    def read_parts(self, name: str, parts: Sequence[Part], *, size: int | None = None) -> None:
        """See `Place.read_parts`; the size is checked only if the parts are the whole file.

        Parts that lie close together come by one request, with what is between them.
        """
        length = sum(len(view) for _, view in parts)
        for span in _spans(parts):
            start = span[0][0]
            end = max(at + len(view) for at, view in span)
            # One byte beyond a whole file tells whether it is longer.
            content = read_range(f"{self._url}/{name}", start, end - start + (length == size))
            if len(content) != end - start:
                raise EOFError
            for at, view in span:
                view[:] = content[at - start : at - start + len(view)]

    def write(self, name: str, content: bytes | memoryview) -> None:
        """See `Place.write`."""
        self._put(name, bytes(content), mode="overwrite")

    def claim(self, name: str, content: bytes) -> bool:
        """See `Place.claim`; where the file system cannot decide, the later one of two wins."""
        try:
            self._put(name, content, mode="create")
        except FileExistsError:
            with suppress(FileNotFoundError):
                return self.read(name) == content  # ours, if only the answer was lost
            return False
        return True

    def create(self, files: Mapping[str, bytes]) -> bool:
        """See `Place.create`; what a killed process left half-made is begun again."""
        *others, last = files
        is_new = last not in files_in(self._url)
        if is_new:
            self.write(_MAKING, last.encode())
            for name in others:
                self.write(name, files[name])
            is_new = self.claim(last, files[last])
        self.remove(_MAKING)
        return is_new

    def remove(self, name: str) -> None:
        """See `Place.remove`."""
        url = f"{self._url}/{name}"
        with suppress(FileNotFoundError):
            attempt(url, lambda: file_system(url).rm_file(key_of(url)))

    def names(self, folder: str) -> list[str]:
        """See `Place.names`."""
        return sorted(files_in(f"{self._url}/{folder}" if folder else self._url))

    def is_free(self) -> bool:
        """See `Place.is_free`; a store that was left half-made counts as nothing."""
        with suppress(FileNotFoundError):
            listed = attempt(self._url, lambda: file_system(self._url).ls(key_of(self._url), False))
            names = {each.rpartition("/")[2] for each in listed}
            return not names or (_MAKING in names and self.read(_MAKING).decode() not in names)
        return True

    def size_on_disk(self) -> int:
        """See `Place.size_on_disk`."""
        return sum(files_below(self._url).values())

    def _put(self, name: str, content: bytes, *, mode: str) -> None:
        url = f"{self._url}/{name}"
        with _bucket_is_there(url):
            attempt(url, lambda: file_system(url).pipe_file(key_of(url), content, mode=mode))


@contextmanager
def _bucket_is_there(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        protocol, _, rest = url.partition("://")
        raise InputError(
            f"cannot write {url}: there is no {protocol}://{rest.partition('/')[0]}: make this "
            "bucket first, or name another one"
        ) from error


def _spans(parts: Sequence[Part]) -> list[list[Part]]:
    """Put parts together that lie close to each other."""
    spans: list[list[Part]] = []
    end = 0
    for start, view in sorted(parts, key=lambda part: part[0]):
        if not spans or start - end > _GAP:
            spans.append([])
        spans[-1].append((start, view))
        end = max(end, start + len(view))
    return spans
