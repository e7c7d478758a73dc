"""Claim: reading a store takes at most 1.3 x the time of reading a raw file of the same bytes.

Makes a store of random float16 features, half of them zeros as behind a ReLU, 2,048 a row, and the
same values as a raw file, as HDF5 (h5py, chunks of the same rows, plain and with its usual gzip)
and as the store that older versions made (zstd). All of them are in the page cache. Every round
reads each once, in an order of its own; ratios are those of the same round. What is slow has fewer
rounds by itself, with the raw file. `raw file` is one thread that fills a new array, `array there`
one whose memory the system has handed out already. The store is read with its checksums compared;
`taken` are random rows, ascending. With `--device cuda` the seconds hold the copy to the device,
except of `walk`, which keeps no values.

    uv run python benchmarks/store_read.py

writes benchmarks/results/store_read.json: command, sizes, versions, hardware, quartiles of seconds,
and the peak memory of processes of their own beyond what they held before they read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import zarr
from _process import in_own_process
from _random_store import random_fingerprint
from _report import head, parser_of, write
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from cache import FeatureStore, StoreWriter

BASE = "raw file"
SLOW = ("HDF5, gzip", "zstd store", "zarr-python, zstd")
ROUNDS_OF_SLOW = 3
BOUND = 1.3
FULL = 1.0  # gigabytes; opening the store prevails over reading it where there is less
CHUNK = 512  # rows
SHARES = (64, 8)  # one row in so many is taken
Values = NDArray[np.float16]
Cell = dict[str, Any]


def main() -> None:
    """Make the files in a temporary folder, measure, print the table and write the result."""
    arguments = parse()
    if arguments.case:
        print(json.dumps(peak_of(arguments.case, cases(arguments.folder, arguments.device))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        shape = make_files(Path(folder), arguments.gigabytes, arguments.features)
        print(f"{shape[0]:,} x {shape[1]:,} float16; the files are there", file=sys.stderr)
        known = cases(Path(folder), arguments.device)
        slow = measure({case: known[case] for case in (BASE, *SLOW)}, ROUNDS_OF_SLOW)
        fast = measure({case: known[case] for case in known if case not in SLOW}, arguments.rounds)
        peaks = {case: in_own_process("--case", case, "--folder", folder) for case in known}
        sizes = {path.name: size_on_disk(path) for path in Path(folder).iterdir()}
    found = {
        case: summary(case, slow if case in SLOW else fast, shape) | {"peak_bytes": peak}
        for case, peak in peaks.items()
    }
    report = {
        **head(__doc__, arguments.device),
        "sizes": {"rows": shape[0], "features": shape[1], "chunk_rows": CHUNK, "bytes": sizes},
        "peers": {"h5py": h5py.__version__, "zarr": zarr.__version__},
        "cases": found,
    }
    write(arguments.out, report)
    print(table(found))
    if arguments.gigabytes >= FULL and found["store"]["ratio"] > BOUND:
        sys.exit(f"more than {BOUND} x the raw file")


def make_files(folder: Path, gigabytes: float, num_features: int) -> tuple[int, int]:
    """Write the same values in every form; return their shape (N, F)."""
    num_rows = max(CHUNK, int(gigabytes * 2**30 / 2 / num_features) // CHUNK * CHUNK)
    shape, chunks = (num_rows, num_features), (CHUNK, num_features)
    generator = np.random.default_rng(0)
    place, codec = folder / "zstd.zarr", ZstdCodec(level=1)
    zstd: Any = zarr.create_array(
        place, shape=shape, chunks=chunks, dtype="float16", compressors=codec
    )
    with (
        open(folder / "raw", "wb") as raw,
        h5py.File(folder / "plain.h5", "w") as plain_file,
        h5py.File(folder / "gzip.h5", "w") as gzip_file,
        writer_of(folder / "store.zarr", shape) as writer,
    ):
        plain = plain_file.create_dataset("features", shape, "float16", chunks=chunks)
        packed = gzip_file.create_dataset(
            "features", shape, "float16", chunks=chunks, compression="gzip"
        )
        for number in list(writer.pending):
            rows = slice(writer.chunk(number).start, writer.chunk(number).stop)
            drawn = generator.standard_normal(chunks, dtype=np.float32)
            values = np.maximum(drawn, 0).astype(np.float16)
            writer.write(number, values, {})
            raw.write(values.data)
            plain[rows] = packed[rows] = zstd[rows] = values
    make_older(folder / "store.zarr", folder / "zstd.zarr", folder / "older.zarr")
    os.sync()  # nothing is still on its way to the disk while we measure
    return shape


def writer_of(path: Path, shape: tuple[int, int]) -> StoreWriter:
    """Begin a store whose rows have nothing but numbers for names."""
    names = [str(row) for row in range(shape[0])]
    fingerprint = random_fingerprint(shape[1])
    rows = pa.table({"id": names, "path": names, "label": names})
    return StoreWriter.create_or_resume(
        path, fingerprint=fingerprint, rows=rows, root=".", chunk_rows=CHUNK
    )


def make_older(store: Path, features: Path, older: Path) -> None:
    """Put compressed features and the other files of a store together, as older versions did."""
    older.mkdir()
    for name in ("zarr.json", "rows.parquet"):
        (older / name).write_bytes((store / name).read_bytes())
    lines = [json.loads(line) for line in (store / "ledger.jsonl").read_text().splitlines()]
    kept = ({key: each[key] for key in each if key != "crc32c"} for each in lines)
    (older / "ledger.jsonl").write_text("".join(json.dumps(each) + "\n" for each in kept))
    features.rename(older / "features")


def cases(folder: Path, device: str) -> dict[str, Callable[[], None]]:
    """List what is measured; each reads everything once and brings it to the device."""
    store, older = (FeatureStore.open(folder / f"{name}.zarr") for name in ("store", "older"))
    on_disk = store.on_disk()
    shape = (on_disk.num_rows, on_disk.num_features)
    draw = np.random.default_rng(1).choice
    drawn = {share: np.sort(draw(shape[0], shape[0] // share, replace=False)) for share in SHARES}

    @cache
    def there() -> Values:  # made when it is first used: not in the memory of other cases
        return np.zeros(shape, np.float16)

    def fill() -> Values:
        on_disk.read_into(there())
        return there()

    def walk() -> None:
        for _ in on_disk.chunks():
            pass

    def to_device(read: Callable[[], Values]) -> None:
        values = read()
        if device == "cuda":
            import torch  # not on top: most processes only measure memory, and start faster without

            torch.from_numpy(values).to(device)
            torch.cuda.synchronize()

    reads: dict[str, Callable[[], Any]] = {
        BASE: lambda: read_raw(folder / "raw", np.empty(shape, np.float16)),
        "store": lambda: store.read().values,
        "raw file, np.fromfile": lambda: np.fromfile(folder / "raw", np.float16),
        "raw file, array there": lambda: read_raw(folder / "raw", there()),
        "store, array there": fill,
        **{
            f"store, 1 row in {share} taken": partial(on_disk.take, rows)
            for share, rows in drawn.items()
        },
        "HDF5": lambda: read_hdf5(folder / "plain.h5"),
        "HDF5, gzip": lambda: read_hdf5(folder / "gzip.h5"),
        "zarr-python": lambda: zarr.open_array(store.path / "features", mode="r")[:],
        "zstd store": lambda: older.read().values,
        "zarr-python, zstd": lambda: zarr.open_array(older.path / "features", mode="r")[:],
    }
    return {name: partial(to_device, read) for name, read in reads.items()} | {"store, walk": walk}


def read_raw(file: Path, values: Values) -> Values:
    """Fill an array from a raw file by one thread."""
    view = values.data.cast("B")
    with open(file, "rb", buffering=0) as raw:
        while view:
            view = view[raw.readinto(view) :]
    return values


def read_hdf5(file: Path) -> Values:
    """Read an HDF5 file into a new array."""
    with h5py.File(file) as opened:
        values: Values = opened["features"][:]
    return values


def measure(known: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Read everything again and again: seconds of each case in each round."""
    seconds: dict[str, list[float]] = {case: [] for case in known}
    for read in known.values():  # not timed: fills the page cache, loads what is loaded lazily
        read()
    generator = np.random.default_rng(2)
    for _ in range(rounds):
        for case in generator.permutation(list(known)):  # nobody always follows the same one
            begun = time.perf_counter()
            known[case]()
            seconds[case].append(time.perf_counter() - begun)
    return seconds


def peak_of(case: str, known: dict[str, Callable[[], None]]) -> int | None:
    """Run one case: the most memory in bytes beyond what the process held before; Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    except OSError:
        return None
    before = memory("VmRSS")
    known[case]()
    return memory("VmHWM") - before


def memory(name: str) -> int:
    """Read one of the kernel's figures on this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def size_on_disk(path: Path) -> int:
    """Add up the sizes of a file or of the files in a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def summary(case: str, seconds: dict[str, list[float]], shape: tuple[int, int]) -> Cell:
    """Sum up the rounds of one case."""
    own, base = np.array(seconds[case]), np.array(seconds[BASE])
    share = next((share for share in SHARES if f"in {share} taken" in case), 1)
    rows = shape[0] // share
    return {
        "n": len(own),
        "seconds": [round(float(each), 4) for each in np.quantile(own, (0.25, 0.5, 0.75))],
        "ratio": round(float(np.median(own / base)), 3),
        "gigabytes_per_second": round(rows * shape[1] * 2 / float(np.median(own)) / 1e9, 2),
        "rows_per_second": round(rows / float(np.median(own))),
    }


def table(found: dict[str, Cell]) -> str:
    """Lay out the cases as Markdown."""
    lines = ["| read | s (quartiles) | x raw file | GB/s | rows/s | peak memory, MB |"]
    lines.append("|---" * 6 + "|")
    for case, cell in found.items():
        low, median, high = cell["seconds"]
        row = [
            case,
            f"{median:.3f} ({low:.3f}-{high:.3f})",
            f"{cell['ratio']:.2f}",
            f"{cell['gigabytes_per_second']:.1f}",
            f"{cell['rows_per_second']:,}",
            "unknown" if cell["peak_bytes"] is None else f"{cell['peak_bytes'] / 1e6:,.0f}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("store_read", __doc__)
    parser.add_argument("--gigabytes", type=float, default=FULL, help="of 2**30 bytes")
    parser.add_argument("--features", type=int, default=2048, help="F")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
