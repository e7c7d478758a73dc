"""Claim: the comparison that a paper needs takes minutes on one graphics processor.

13 methods x 3 noise rates x 5 seeds, 195 runs of 30 epochs, at the size of Stanford Online Products
(59,551 training rows in 11,318 classes, 2,048 features), trained and measured by what `dml ablate`
calls, in one process. The features are random clouds, one a class, so the figures mean nothing but
that every run has learned; half as many rows again are test rows.

    uv run python benchmarks/paper_table.py --device cuda

writes benchmarks/results/paper_table.json: command, sizes, versions, hardware, seconds in all, and
the seconds of each method. On a CPU give smaller sizes (`--rows 2000 --classes 400 --epochs 3`):
what they take says nothing of the full size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from _report import add_machine, add_sizes, head, parser_of, write

from cache import FeatureStore, Fingerprint, StoreWriter
from cache.fingerprint import rows_digest
from pipeline.ablate import ablate
from pipeline.choices.grid import plan
from pipeline.choices.settings import Settings

METHODS = (
    *("contrastive", "memory-contrastive", "multi-similarity", "hierarchical-triplet"),
    *("normalized-softmax", "soft-triple", "proxy-anchor", "soft-orthogonal"),
    *("smooth-proxy-anchor", "co-teaching-t", "f-correction", "curriculum", "prism"),
)
# Rows of clouds this wide may be unsure of every class; a fallback keeps the method in the table.
CHANGES = {"smooth-proxy-anchor": ["loss.unassigned=fallback-given"]}
NOISE = "0,symmetric:0.2,symmetric:0.5"
DEFAULTS = {
    "rows": (59_551, "training rows N"),
    "classes": (11_318, "C"),
    "features": (2048, "F"),
    "epochs": (30, "epochs"),
    "seeds": (5, "seeds"),
}


def main() -> None:
    """Make the store in a temporary folder, train method after method, write the result."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    common = Settings(epochs=arguments.epochs)
    seconds: dict[str, float] = {}
    recall: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = make_store(Path(folder) / "features.zarr", arguments)
        for method in METHODS:
            cells = plan(common, loss=method, noise=NOISE, changes=CHANGES.get(method, []))
            begun = time.perf_counter()
            found = ablate(
                store,
                cells,
                Path(folder) / "ablation",
                seeds=arguments.seeds,
                device=arguments.device,
            )
            if found.failures:
                raise SystemExit("\n".join(found.failures))
            seconds[method] = round(time.perf_counter() - begun, 1)
            recall[method] = [row["recall@1"] for row in found.rows]
    report = {
        **head(__doc__, arguments.device),
        "sizes": {name: getattr(arguments, name) for name in (*DEFAULTS, "threads", "device")},
        "seconds": round(sum(seconds.values()), 1),
        "seconds_of_method": seconds,
        "recall@1": recall,  # of the untrained features, then of every run
    }
    write(arguments.out, report)
    print(table(seconds, arguments))


def make_store(path: Path, arguments: argparse.Namespace) -> FeatureStore:
    """Write a store of clouds: training rows, then test rows of the same classes."""
    count = arguments.rows + arguments.rows // 2
    ids = [f"{row:07}" for row in range(count)]
    labels = np.arange(count) % arguments.classes
    splits = ["train"] * arguments.rows + ["test"] * (count - arguments.rows)
    rows = pa.table({"id": ids, "path": ids, "label": labels.astype(str), "split": splits})
    fingerprint = Fingerprint(
        backbone="random",
        weights_sha256="0" * 64,
        transform={},
        pool="avg",
        dtype="float16",
        num_features=arguments.features,
        precision="float32",
        rows_digest=rows_digest(ids, [0] * count),
        versions={},
    )
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((arguments.classes, arguments.features), dtype=np.float32)
    with StoreWriter.create_or_resume(
        path, fingerprint=fingerprint, rows=rows, root=path.parent
    ) as writer:
        for number in list(writer.pending):
            own = labels[writer.chunk(number).start : writer.chunk(number).stop]
            noise = draw.standard_normal((len(own), arguments.features), dtype=np.float32)
            writer.write(number, centres[own] + 3 * noise, {})
    return FeatureStore.open(path)


def table(seconds: dict[str, float], arguments: argparse.Namespace) -> str:
    """Lay out the seconds as Markdown."""
    lines = ["| method | seconds for all its runs |", "|---|---|"]
    lines += [f"| {method} | {value:.1f} |" for method, value in seconds.items()]
    runs = len(METHODS) * len(NOISE.split(",")) * arguments.seeds
    lines.append(f"\n{runs} runs in {sum(seconds.values()) / 60:.1f} minutes.")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("paper_table", __doc__)
    add_sizes(parser, DEFAULTS)
    add_machine(parser)
    parser.add_argument("--folder", type=Path, help="where the store is made; default: temporary")
    return parser.parse_args()


if __name__ == "__main__":
    main()
