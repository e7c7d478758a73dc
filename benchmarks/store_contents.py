"""Claim: float16, bfloat16 and int8 features are within 0.3 points of the Recall@1 of float32.

Extracts the images once into float32 with two poolings and two augmented views, and writes the same
features as stores of every number format, as HDF5 (h5py, plain) and as npy. Recall@1 is of the
untrained features and of PRISM trained on them, at right labels and at 50 % symmetric noise, on
the same seeds; differences to float32 are paired. `mean of views` is the mean of the unit vectors
of the plain picture and its views, of queries and gallery alike. Load times are of everything, from
the page cache, in rounds that take turns.

    uv run python benchmarks/store_contents.py --data ../shared/data/grocery/manifest.csv

writes benchmarks/results/store_contents.json: command, versions, hardware, figures of each run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from _report import head, parser_of, write
from numpy.typing import NDArray

from cache import FeatureStore, StoreWriter
from cache.fingerprint import FEATURE_DTYPES
from pipeline.ablate import ablate
from pipeline.backbones import load_backbone
from pipeline.choices.grid import plan
from pipeline.choices.settings import Settings
from pipeline.datasets import load_manifest
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.extract import extract
from pipeline.extraction.pictures.views import Augmentation
from pipeline.measures.intervals import mean_and_interval

EXACT = "float32"
BOUND = 0.3  # points of Recall@1
NOISES = "0,symmetric:0.5"
Values = NDArray[np.floating]


def main() -> None:
    """Extract, write every form, measure, print the tables and write the result."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        exact = extracted(folder / "all.zarr", arguments)
        stores = {dtype: written(folder, exact, dtype) for dtype in FEATURE_DTYPES}
        kinds = {kind: one_kind(folder, exact, kind) for kind in exact.feature_names[1:]}
        kinds["mean of views"] = mean_of_views(folder, exact)
        files = peers(folder, stores[EXACT].read().values)
        recall = {
            form: recalls(folder, store, form, arguments)
            for form, store in {**stores, **kinds}.items()
        }
        report = {
            **head(__doc__),
            "rows": exact.num_rows,
            "features": exact.num_features,
            "seeds": arguments.seeds,
            "forms": {
                form: {
                    "recall@1": recall[form],
                    "bytes": store.place.size_on_disk(),
                    "difference": {
                        case: paired(found, recall[EXACT][case])
                        for case, found in recall[form].items()
                    },
                }
                for form, store in {**stores, **kinds}.items()
            },
            "load": loading(stores, files, arguments.rounds),
            "peers": {"h5py": h5py.__version__},
        }
    write(arguments.out, report)
    print(table(report))
    worst = min(
        mean for dtype in stores for mean, _ in report["forms"][dtype]["difference"].values()
    )
    if not arguments.images and worst < -BOUND:
        sys.exit(f"a number format loses {-worst:.2f} points, more than {BOUND}")


def extracted(path: Path, arguments: argparse.Namespace) -> FeatureStore:
    """Extract everything in one pass."""
    backbone = load_backbone(arguments.backbone, weights=None, pool="avg,max")
    views = Augmentation(views=2)
    manifest = load_manifest(arguments.data)
    if arguments.images:
        manifest = some_of(manifest, arguments.images)
    extract(manifest, path, backbone, dtype=EXACT, augmentation=views)
    return FeatureStore.open(path)


def some_of(manifest: Manifest, count: int) -> Manifest:
    """Keep about `count` images, evenly spaced."""
    step = slice(None, None, max(1, len(manifest) // count))
    return make_manifest(
        ids=manifest.ids[step],
        paths=manifest.paths[step],
        labels=manifest.labels[step],
        splits=manifest.splits and manifest.splits[step],
        root=manifest.root,
    )


def written(folder: Path, exact: FeatureStore, dtype: str) -> FeatureStore:
    """Write the default features in a number format."""
    return store_of(folder / f"{dtype}.zarr", exact, exact.read().values, dtype)


def one_kind(folder: Path, exact: FeatureStore, kind: str) -> FeatureStore:
    """Write one of the other kinds of features alone."""
    values = exact.choose(kind).read().values
    return store_of(folder / f"{kind}.zarr", exact, values, EXACT)


def mean_of_views(folder: Path, exact: FeatureStore) -> FeatureStore:
    """Write the mean of unit vectors over the views of the default pool."""
    names = [name for name in exact.feature_names if name.partition("@")[0] == "avg"]
    parts = [exact.choose(name).read().values for name in names]
    mean = np.mean([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=0)
    return store_of(folder / "mean.zarr", exact, mean, EXACT)


def store_of(path: Path, exact: FeatureStore, values: Values, dtype: str) -> FeatureStore:
    """Write features (N, F) of the readable rows as a store of their own."""
    facts = replace(exact.fingerprint, pool="avg", views=0, augmentation={}, dtype=dtype)
    with StoreWriter.create_or_resume(
        path, fingerprint=facts, rows=exact.readable_rows(), root=exact.root
    ) as writer:
        for number in list(writer.pending):
            rows = writer.chunk(number)
            writer.write(number, values[rows.start : rows.stop], {})
    return FeatureStore.open(path)


def peers(folder: Path, values: Values) -> dict[str, Path]:
    """Write the features (N, F) as npy and HDF5."""
    files = {}
    for dtype in ("float32", "float16"):
        files[f"npy, {dtype}"] = folder / f"{dtype}.npy"
        np.save(folder / f"{dtype}.npy", values.astype(dtype))
        files[f"HDF5, {dtype}"] = folder / f"{dtype}.h5"
        with h5py.File(folder / f"{dtype}.h5", "w") as file:
            file.create_dataset("features", data=values.astype(dtype))
    return files


def recalls(
    folder: Path, store: FeatureStore, form: str, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Measure Recall@1 in percent: untrained, and of a run for each noise and seed."""
    cells = plan(Settings(epochs=arguments.epochs), loss="prism", noise=NOISES)
    out = folder / "ablations" / form
    found: dict[str, list[float]] = {}
    for row in ablate(store, cells, out, seeds=arguments.seeds, recall_at=(1,)).rows:
        case = (
            row["method"] if row.get("seed") is None else f"{row['method']}, noise {row['noise']}"
        )
        found.setdefault(case, []).append(100 * row["recall@1"])
    return found


def paired(found: list[float], exact: list[float]) -> list[float | None]:
    """Return the mean of the paired differences, and the half-width of its 95 % interval."""
    mean, half = mean_and_interval(np.subtract(found, exact))
    return [round(mean, 3), None if np.isnan(half) else round(half, 3)]


def loading(
    stores: dict[str, FeatureStore], files: dict[str, Path], rounds: int
) -> dict[str, dict[str, Any]]:
    """Time reading everything, in turns: quartiles of milliseconds, and bytes on the disk."""
    reads: dict[str, Callable[[], object]] = {
        f"store, {dtype}": partial(read_store, store.path) for dtype, store in stores.items()
    }
    sizes = {f"store, {dtype}": store.place.size_on_disk() for dtype, store in stores.items()}
    for form, file in files.items():
        reads[form] = partial(np.load if file.suffix == ".npy" else read_hdf5, file)
        sizes[form] = file.stat().st_size
    seconds: dict[str, list[float]] = {form: [] for form in reads}
    for _ in range(rounds + 1):
        for form, read in reads.items():
            begun = time.perf_counter()
            read()
            seconds[form].append(time.perf_counter() - begun)
    return {
        form: {
            "bytes": sizes[form],
            "milliseconds": [round(1e3 * float(q), 2) for q in np.quantile(all_[1:], _QUARTILES)],
        }
        for form, all_ in seconds.items()
    }


_QUARTILES = (0.25, 0.5, 0.75)


def read_store(path: Path) -> object:
    """Open a store and read everything, checksums compared."""
    return FeatureStore.open(path).read().values


def read_hdf5(path: Path) -> object:
    """Open an HDF5 file and read everything."""
    with h5py.File(path) as file:
        return file["features"][:]


def table(report: dict[str, Any]) -> str:
    """Lay out both tables as Markdown."""
    cases = list(next(iter(report["forms"].values()))["recall@1"])
    lines = [f"| form | MB | {' | '.join(cases)} |", "|---" * (2 + len(cases)) + "|"]
    for form, facts in report["forms"].items():
        cells = []
        for case in cases:
            mean, half = facts["difference"][case]
            spread = "" if half is None else f" ± {half:.2f}"
            cells.append(f"{np.mean(facts['recall@1'][case]):.2f} ({mean:+.2f}{spread})")
        lines.append(f"| {form} | {facts['bytes'] / 1e6:.1f} | {' | '.join(cells)} |")
    lines += ["", "| load | MB | ms (quartiles) |", "|---|---|---|"]
    for form, facts in report["load"].items():
        low, median, high = facts["milliseconds"]
        lines.append(
            f"| {form} | {facts['bytes'] / 1e6:.1f} | {median:.1f} ({low:.1f}-{high:.1f}) |"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("store_contents", __doc__)
    parser.add_argument("--data", default=None, help="images; without it the demo set")
    parser.add_argument("--images", type=int, default=0, help="about so many; 0 is all")
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps what was finished, to be gone on with")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    main()
