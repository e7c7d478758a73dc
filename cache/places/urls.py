"""Where something lies: a path on this machine, or the text of a URL.

A `Path` would make `s3:/bucket` of `s3://bucket`, so URLs stay texts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeAlias

Location: TypeAlias = Path | str
"""A path on this machine, or a URL as text."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HERE = "file://"


def is_url(place: str | Path) -> bool:
    """Tell whether this names something far away; `file://` is this machine."""
    return isinstance(place, str) and bool(_URL.match(place)) and not place.startswith(_HERE)


def located(place: str | Path) -> Location:
    """Return an absolute path, or a URL without the slashes at its end."""
    if isinstance(place, str) and is_url(place):
        protocol, mark, rest = place.partition("://")
        return f"{protocol.lower()}{mark}{rest.rstrip('/')}"
    return Path(str(place).removeprefix(_HERE)).absolute()


def below(root: Location, name: str) -> Location:
    """Put a name below a folder or URL; a name that is an absolute path or a URL stays as it is."""
    if is_url(name):
        return name
    if isinstance(root, Path) or os.path.isabs(name):
        return Path(root, name.removeprefix(_HERE))
    return f"{root}/{name}"


def was_url(path: Path) -> bool:
    """Tell whether a path was made of a URL, which has lost a slash by that: `s3:/bucket`."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path.as_posix()))


def folder_of(place: Location) -> Location:
    """Return the folder that a file lies in."""
    return place.parent if isinstance(place, Path) else place.rpartition("/")[0]


def suffix_of(place: Location) -> str:
    """Return the end of a file's name from its last dot on, in small letters."""
    return os.path.splitext(str(place))[1].lower()
