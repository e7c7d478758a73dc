"""Errors that a user can act on: each message is one line and says what to do next."""

from __future__ import annotations


class DmlError(Exception):
    """Base of every error the command line prints as one line, ending with exit code 2."""


class InputError(DmlError, ValueError):
    """A bad argument, or data that cannot be used."""


class StoreNotFoundError(DmlError, FileNotFoundError):
    """There is no feature store at the given path."""


class StoreIncompleteError(DmlError, ValueError):
    """The extraction into this store has not finished."""


class StoreMismatchError(DmlError, ValueError):
    """The store was made with other facts than the ones asked for.

    Attributes:
        field: name of the first fingerprint field that differs.
        found: its value in the store.
        expected: the value asked for.
    """

    def __init__(self, message: str, *, field: str, found: object, expected: object) -> None:
        """Keep the differing field and both values beside the one-line message."""
        super().__init__(message)
        self.field = field
        self.found = found
        self.expected = expected


class StoreCorruptError(DmlError, ValueError):
    """The files of the store contradict each other or cannot be decoded."""


class DamagedChunkError(StoreCorruptError):
    """A finished chunk whose values are not there or not the ones that were written.

    Attributes:
        what: what is wrong with it, for example "is missing".
    """

    def __init__(self, message: str, *, what: str) -> None:
        """Keep what is wrong beside the one-line message."""
        super().__init__(message)
        self.what = what


class StoreBusyError(DmlError, OSError):
    """Another process is writing into the store."""


class DiskFullError(DmlError, OSError):
    """No room (or no quota) is left for the store; what was finished is kept."""


class UnreachableError(DmlError, OSError):
    """Something at a URL cannot be read or written: the network, the credentials, their rights."""
