"""Claim: a million rows are written and read in less than 2 GB of memory.

Writes a store of 1,000,000 x 1,280 random float16 features (2.6 GB), then reads it in order and by
random rows, and verifies it: each in a process of its own, whose peak resident memory is measured,
libraries and the table of the rows included.

    uv run python benchmarks/million_rows.py

writes benchmarks/results/million_rows.json: command, sizes, versions, hardware, seconds and peaks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from _process import in_own_process, peak_bytes
from _random_store import random_fingerprint
from _report import head, parser_of, write

from cache import FeatureStore, StoreWriter

BOUND = 2e9
FULL = 1_000_000
TAKEN = 100_000  # random rows, in batches
BATCH = 256


def main() -> None:
    """Run each use in its own process, print the table and write the result."""
    arguments = parse()
    if arguments.use:
        print(json.dumps(measured(USES[arguments.use], arguments)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        found = {use: in_own_process("--use", use, "--folder", folder) for use in USES}
        stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    sizes = {"rows": arguments.rows, "features": arguments.features, "bytes": stored}
    write(arguments.out, {**head(__doc__), "sizes": sizes, "uses": found})
    print(table(found))
    if max(each["peak_bytes"] for each in found.values()) > BOUND:
        sys.exit(f"more than {BOUND / 1e9:g} GB")


def measured(use: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> Any:
    """Run one use; its seconds and the peak memory of this process."""
    begun = time.perf_counter()
    use(arguments)
    return {"seconds": round(time.perf_counter() - begun, 2), "peak_bytes": peak_bytes()}


def write_rows(arguments: argparse.Namespace) -> None:
    """Make the store."""
    names = pa.array([f"class {row % 997}/{row}.jpg" for row in range(arguments.rows)])
    labels = pa.array([f"class {row % 997}" for row in range(arguments.rows)])
    fingerprint = random_fingerprint(arguments.features)
    rows = pa.table({"id": names, "path": names, "label": labels})
    with StoreWriter.create_or_resume(
        arguments.folder / "store.zarr", fingerprint=fingerprint, rows=rows, root="."
    ) as writer:
        shape = (len(writer.chunk(0)), arguments.features)
        drawn = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
        for number in list(writer.pending):
            drawn[:, 0] = number  # so that no two chunks are alike
            writer.write(number, drawn[: len(writer.chunk(number))], {})


def walk(arguments: argparse.Namespace) -> None:
    """Read all rows in order."""
    for _ in FeatureStore.open(arguments.folder / "store.zarr").on_disk().chunks():
        pass


def take(arguments: argparse.Namespace) -> None:
    """Read random rows, a batch at a time."""
    on_disk = FeatureStore.open(arguments.folder / "store.zarr").on_disk()
    generator = np.random.default_rng(1)
    for _ in range(min(TAKEN, arguments.rows) // BATCH):
        on_disk.take(np.unique(generator.integers(0, on_disk.num_rows, BATCH)))


def verify(arguments: argparse.Namespace) -> None:
    """Compare every chunk with its checksum."""
    if FeatureStore.open(arguments.folder / "store.zarr").verify():
        sys.exit("the store is damaged")


USES: dict[str, Callable[[argparse.Namespace], None]] = {
    "write": write_rows,
    "read in order": walk,
    "take random rows": take,
    "verify": verify,
}


def table(found: dict[str, Any]) -> str:
    """Lay out the uses as Markdown."""
    lines = ["| use | s | peak memory, MB |", "|---|---|---|"]
    lines += [
        f"| {use} | {each['seconds']:.1f} | {each['peak_bytes'] / 1e6:,.0f} |"
        for use, each in found.items()
    ]
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("million_rows", __doc__)
    parser.add_argument("--rows", type=int, default=FULL)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--folder", type=Path, help="where the store lies meanwhile")
    parser.add_argument("--use", choices=list(USES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
