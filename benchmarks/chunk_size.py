"""Claim: large plain chunks read fastest, random rows most of all, and faster than Zarr's shards.

Writes the same random float16 features, 1,280 a row, as stores with chunks of several sizes, and as
Zarr arrays of zarr-python with shards of 4,096 rows that hold chunks of 64. All are in the page
cache. A round reads each in order and takes random batches of it, in an order of its own; ratios
are to 512 rows in the same round. Of the written files the number and the seconds of writing (each
chunk is waited for until it is on the disk) are told, too.

    uv run python benchmarks/chunk_size.py

writes benchmarks/results/chunk_size.json: command, sizes, versions, hardware, quartiles.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from _random_store import random_fingerprint
from _report import add_sizes, head, parser_of, write
from numpy.typing import NDArray

from cache import FeatureStore, StoreWriter

USUAL = "512 rows"
SIZES = (64, 256, 512, 1024, 4096, 16384)
SHARD, INNER = 4096, 64
BATCHES = 20
Batches = list[NDArray[np.int64]]


def main() -> None:
    """Write every form, measure in turns, print the table and write the result."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = {f"{size} rows": make_store(folder, size, arguments) for size in SIZES}
        sharded = f"zarr-python, {INNER} in {SHARD} rows"
        written[sharded] = make_sharded(folder, arguments)
        generator = np.random.default_rng(1)
        batches = [
            np.unique(generator.integers(0, arguments.rows, arguments.batch))
            for _ in range(BATCHES)
        ]
        uses = {f"{size} rows": uses_of_store(folder, size, batches) for size in SIZES}
        uses[sharded] = uses_of_sharded(folder, batches)
        seconds = measure(uses, arguments.rounds)
    found = {
        form: {
            "files": files,
            "seconds_to_write": round(spent, 2),
            **{use: summary(seconds, form, use) for use in ("in order", "random batches")},
        }
        for form, (files, spent) in written.items()
    }
    sizes = {"rows": arguments.rows, "features": arguments.features, "batch": arguments.batch}
    peers = {"zarr": zarr.__version__}
    write(arguments.out, {**head(__doc__), "sizes": sizes, "peers": peers, "forms": found})
    print(table(found))


def values_of(number: int, rows: int, features: int) -> NDArray[np.float16]:
    """Draw the features (rows, F) of one chunk."""
    drawn = np.random.default_rng(number).standard_normal((rows, features), dtype=np.float32)
    return drawn.astype(np.float16)


def make_store(folder: Path, size: int, arguments: argparse.Namespace) -> tuple[int, float]:
    """Write a store; the number of its files, and the seconds."""
    names = [str(row) for row in range(arguments.rows)]
    fingerprint = random_fingerprint(arguments.features)
    rows, path = pa.table({"id": names, "path": names, "label": names}), folder / f"{size}.zarr"
    begun, drawing = time.perf_counter(), 0.0
    with StoreWriter.create_or_resume(
        path, fingerprint=fingerprint, rows=rows, root=".", chunk_rows=size
    ) as writer:
        for number in list(writer.pending):
            before = time.perf_counter()
            values = values_of(number, len(writer.chunk(number)), arguments.features)
            drawing += time.perf_counter() - before
            writer.write(number, values, {})
    spent = time.perf_counter() - begun - drawing
    return sum(file.is_file() for file in path.rglob("*")), spent


def make_sharded(folder: Path, arguments: argparse.Namespace) -> tuple[int, float]:
    """Write a sharded Zarr array; the number of its files, and the seconds."""
    shape = (arguments.rows, arguments.features)
    chunks, shards = (INNER, arguments.features), (SHARD, arguments.features)
    place = folder / "sharded.zarr"
    array: Any = zarr.create_array(
        place, shape=shape, chunks=chunks, shards=shards, dtype="float16", compressors=None
    )
    spent = 0.0
    for number, start in enumerate(range(0, arguments.rows, SHARD)):
        stop = min(start + SHARD, arguments.rows)
        values = values_of(number, stop - start, arguments.features)
        begun = time.perf_counter()
        array[start:stop] = values
        spent += time.perf_counter() - begun
    return sum(file.is_file() for file in place.rglob("*")), spent


def uses_of_store(folder: Path, size: int, batches: Batches) -> dict[str, Callable[[], None]]:
    """Say how a store is read in order and at random."""
    on_disk = FeatureStore.open(folder / f"{size}.zarr").on_disk()
    there = np.zeros((on_disk.num_rows, on_disk.num_features), np.float16)

    def take() -> None:
        for rows in batches:
            on_disk.take(rows)

    return {"in order": lambda: on_disk.read_into(there), "random batches": take}


def uses_of_sharded(folder: Path, batches: Batches) -> dict[str, Callable[[], None]]:
    """Say how the sharded array is read in order and at random."""
    array: Any = zarr.open_array(folder / "sharded.zarr", mode="r")

    def take() -> None:
        for rows in batches:
            array.oindex[rows]

    return {"in order": lambda: array[:], "random batches": take}


def measure(
    uses: dict[str, dict[str, Callable[[], None]]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Run every use again and again: seconds of each in each round."""
    seconds: dict[str, dict[str, list[float]]] = {
        form: {use: [] for use in kinds} for form, kinds in uses.items()
    }
    generator = np.random.default_rng(2)
    for number in range(rounds + 1):
        for form in generator.permutation(list(uses)):
            for use, run in uses[form].items():
                begun = time.perf_counter()
                run()
                if number:  # the first fills the page cache
                    seconds[form][use].append(time.perf_counter() - begun)
    return seconds


def summary(seconds: dict[str, dict[str, list[float]]], form: str, use: str) -> dict[str, Any]:
    """Sum up the rounds of one use."""
    own, usual = np.array(seconds[form][use]), np.array(seconds[USUAL][use])
    return {
        "n": len(own),
        "seconds": [round(float(each), 4) for each in np.quantile(own, (0.25, 0.5, 0.75))],
        "ratio": round(float(np.median(own / usual)), 2),
    }


def table(found: dict[str, Any]) -> str:
    """Lay out the forms as Markdown."""
    lines = ["| chunk | files | s to write | in order, s | x 512 | random batches, s | x 512 |"]
    lines.append("|---" * 7 + "|")
    for form, facts in found.items():
        cells = [form, f"{facts['files']:,}", f"{facts['seconds_to_write']:.1f}"]
        for use in ("in order", "random batches"):
            low, median, high = facts[use]["seconds"]
            cells += [f"{median:.3f} ({low:.3f}-{high:.3f})", f"{facts[use]['ratio']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("chunk_size", __doc__)
    add_sizes(
        parser,
        {
            "rows": (200_000, "N"),
            "features": (1280, "F"),
            "batch": (256, "random rows of a batch"),
            "rounds": (11, "of all forms"),
        },
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
