"""A training in progress on disk: what an interrupted `dml train` goes on from."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


class Unfinished:
    """The snapshot beside the place of a run: `.NAME.unfinished`, gone when the run is written.

    It counts only for the same settings and the same features; another training at the same place
    begins anew.
    """

    def __init__(self, run: Path, identity: Mapping[str, object], *, seconds: float) -> None:
        """Look after the snapshot of one run.

        Args:
            run: folder of the run to come.
            identity: what decides the training, as JSON values.
            seconds: the least time between two snapshots.
        """
        self.path = run.parent / f".{run.name}.unfinished"
        self._identity = json.dumps(identity, sort_keys=True)
        self._seconds = seconds
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor] | None:
        """Read the snapshot; None where there is none, or one of another training."""
        try:
            with safe_open(self.path, framework="pt") as file:
                if file.metadata().get("identity") != self._identity:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None

    def save(self, snapshot: Callable[[], dict[str, Tensor]]) -> None:
        """Write a snapshot, unless the last one is recent."""
        if time.monotonic() - self._saved < self._seconds:
            return
        part = self.path.with_name(self.path.name + ".part")
        # A training that can go on shall not end because a snapshot found no room.
        with contextlib.suppress(OSError, SafetensorError):
            part.parent.mkdir(parents=True, exist_ok=True)
            save_file(snapshot(), part, metadata={"identity": self._identity})
            os.replace(part, self.path)
        part.unlink(missing_ok=True)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Forget the snapshot."""
        self.path.unlink(missing_ok=True)
