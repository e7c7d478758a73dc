"""How much memory a training may take: sizes as they are written, and what a device has free."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import InputError

if TYPE_CHECKING:
    import torch

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SHARE = 0.8  # of what is free


def parse_size(option: str, text: str) -> int:
    """Read a size such as "8GB", "500MB" or plain bytes.

    Raises:
        InputError: it is none, or not above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B?)\s*", text.upper())
    size = int(float(match[1]) * _UNITS.get(match[2], 0)) if match else 0
    if size <= 0:
        raise InputError(f"{option} {text!r}: expected a size above 0 such as 8GB or 500MB")
    return size


def free_bytes(device: torch.device) -> int:
    """Measure the memory that a training may take where nobody says it: most of what is free."""
    if device.type == "cuda":
        import torch

        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE * _free_ram())


def _free_ram() -> int:
    """Read what the system could hand out; half of all where it does not say."""
    listing = Path("/proc/meminfo")  # Linux only
    if listing.exists():
        found = re.search(r"MemAvailable:\s+(\d+) kB", listing.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
