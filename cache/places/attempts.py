"""Calls over a network: tried again while the fault may pass, then told in one clear line."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from cache.errors import DmlError, UnreachableError

T = TypeVar("T")

# A fault of half a minute goes unnoticed; each pause is cut by up to a half, so that many workers
# whose calls failed together do not come back together.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds
_jitter = random.SystemRandom()  # not the generator that seeds stand for

_PASSING = {
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EBUSY", "EIO", "ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN"),
        *("EHOSTUNREACH", "ETIMEDOUT", "EREMOTEIO", "ESTALE", "EPIPE"),
    )
    if hasattr(errno, name)
}
# Libraries of the clouds are optional, so their errors are known by name and module only.
_PASSING_NAMES = {
    *("ConnectionError", "HTTPClientError", "ResponseParserError", "ResponseStreamingError"),
    *("ClientConnectionError", "ClientPayloadError", "IncompleteRead", "TransportError"),
}
_CLOUDS = {"botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "adlfs", "azure", "requests"}
_TOLD_BY_CALLER = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def attempt(url: str, call: Callable[[], T]) -> T:
    """Return what `call` returns, calling it again after faults that may pass.

    Args:
        url: what it works on, for the message.
        call: may be made twice although it had succeeded, if its answer was lost.

    Raises:
        UnreachableError: the network, the server, the credentials or their rights.
        OSError: what is there or is not (FileNotFoundError, FileExistsError), and a full disk: as
            `call` raised them.
    """
    for pause in PAUSES:
        try:
            return call()
        except Exception as error:
            if not may_pass(error):
                raise _told(url, error) from error
        time.sleep(pause * _jitter.uniform(0.5, 1))
    try:
        return call()
    except Exception as error:
        raise _told(url, error) from error


def may_pass(error: Exception) -> bool:
    """Tell whether the same call may succeed a little later."""
    if isinstance(error, DmlError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = _status(error)
    if status is not None:
        return status in (408, 425, 429) or status >= 500
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    return any(kind.__name__ in _PASSING_NAMES for kind in type(error).__mro__)


def _told(url: str, error: Exception) -> Exception:
    """Return the error for a call that failed for good."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, (DmlError, *_TOLD_BY_CALLER)) or number in _NO_ROOM:
        return error
    reason = _reason(error)
    if may_pass(error):
        return UnreachableError(
            f"{url} cannot be reached ({reason}), after {len(PAUSES) + 1} attempts: check the "
            "network and the address, then run the same command again; what is finished is kept"
        )
    if "Credentials" in type(error).__name__:
        return UnreachableError(
            f"there are no credentials for {url} ({reason}): for s3:// set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY or AWS_PROFILE, for gs:// GOOGLE_APPLICATION_CREDENTIALS"
        )
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return UnreachableError(
            f"{url} refuses access ({reason}): check the credentials and what they may do there"
        )
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLOUDS:
        return UnreachableError(f"{url} cannot be used ({reason}): check the address")
    return error  # a fault of a program, not of the way there


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error of a cloud's library tells."""
    response = getattr(error, "response", None)  # botocore's ClientError
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)
    return int(status) if isinstance(status, int | str) and str(status).isdecimal() else None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:160].rstrip(".: ")
