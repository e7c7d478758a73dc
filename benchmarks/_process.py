"""Measuring in processes of their own, whose peak memory nobody else has had a part in."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any


def in_own_process(*words: str) -> Any:
    """Call the running script again with more words, and read the JSON that it prints.

    Raises:
        subprocess.CalledProcessError: it failed; its errors have been shown.
    """
    call = [sys.executable, *sys.argv, *words]
    return json.loads(subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True).stdout)


def peak_bytes() -> int:
    """Read the peak resident memory of this process; macOS counts bytes, Linux kilobytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
