"""Claim: exact evaluation takes at most half the time of pytorch-metric-learning's calculator.

The same embeddings, drawn around class centres, for all (60,502 x 512 and 11,316 classes are the
test set of Stanford Online Products), without copies: the others break ties in their own ways.

- ours: `pipeline.measures.metrics.evaluate`, Recall@1, 10, 100, 1000, R-precision and MAP@R;
- peer: `AccuracyCalculator(k=1000)`, precision@1, R-precision and MAP@R. It has no Recall@K; with
  k = 1000 its search is as deep as Recall@1000 needs. Its search is FAISS's, on the CPU;
- faiss: plain `IndexFlatIP`, 1,001 neighbours, the query itself taken out by row number, then our
  metrics.

In one process and in turn, the median of three rounds, of one from 20,000 rows on; the figures must
agree. Peak memory is measured in a process of its own for each. The limit is the matrix product of
all rows with all rows alone, by the library that computes ours, scaled up from 4,096 rows.

    uv run python benchmarks/evaluation_speed.py --rows 1000 4000 16000 60502

writes benchmarks/results/evaluation_speed.json: command, versions, hardware, all times. At smaller
sizes (`--rows`) the number of classes shrinks likewise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import faiss
import torch
from _process import in_own_process, peak_bytes
from _report import head, parser_of, write
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor
from torch.nn import functional

from pipeline.measures import metrics, nearest, ranks

NUM_CLASSES, FULL = 11_316, 60_502
RECALL_AT = (1, 10, 100, 1000)
DEEPEST = 1000
MANY = 20_000  # rows that are measured once
TOLERANCE = 2e-4  # rounding may swap rows of almost equal cosines
METRICS = ("precision@1", "r_precision", "map@r")
Figures = dict[str, float]


def main() -> None:
    """Measure every size; write and print what was found."""
    arguments = parse()
    if arguments.alone:
        rows, labels = example(arguments.rows[0], arguments.dim, arguments.device)
        before = peak_bytes()
        WAYS[arguments.alone](rows, labels)
        print(json.dumps({"before_the_search_bytes": before, "peak_bytes": peak_bytes()}))
        return
    # First, while this process is small: a child's peak begins with that of its parent.
    peaks = {
        num_rows: {way: in_own_process("--alone", way, "--rows", str(num_rows)) for way in WAYS}
        for num_rows in arguments.rows
    }
    report: dict[str, Any] = {
        **head(__doc__, arguments.device),
        "dim": arguments.dim,
        "recall_at": RECALL_AT,
        "peers": {"pytorch-metric-learning": version_of_peer(), "faiss": faiss.__version__},
        "sizes": [],
    }
    print(
        "| rows | product alone | ours | AccuracyCalculator | ratio | FAISS | ratio | peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for num_rows in arguments.rows:
        found = measure(num_rows, arguments) | {"memory": peaks[num_rows]}
        report["sizes"].append(found)
        write(arguments.out, report)
        print(line(found), flush=True)


def measure(num_rows: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the ways in turn, then measure the memory of each."""
    rows, labels = example(num_rows, arguments.dim, arguments.device)
    small = example(1000, arguments.dim, arguments.device)
    figures: dict[str, Figures] = {}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for way in WAYS.values():
        way(*small)  # libraries load and threads start
    for _ in range(3 if num_rows < MANY else 1):
        for name, way in WAYS.items():
            begun = time.perf_counter()
            figures[name] = way(rows, labels)
            seconds[name].append(round(time.perf_counter() - begun, 3))
    apart = max(
        abs(figures[name][metric] - figures["ours"][metric])
        for name in ("peer", "faiss")
        for metric in METRICS
    )
    if apart > TOLERANCE:
        sys.exit(f"the figures disagree: {figures}")
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    return {
        "rows": num_rows,
        "classes": int(labels.max()) + 1,
        "seconds": seconds,
        "median": middle,
        "product_alone": product(rows),
        "peer_over_ours": round(middle["peer"] / middle["ours"], 2),
        "faiss_over_ours": round(middle["faiss"] / middle["ours"], 2),
        "figures": figures,
        "figures_differ_by_at_most": apart,
    }


def product(rows: Tensor) -> float:
    """Time the comparison of all rows with all rows, without looking at the cosines."""
    part = rows[:4096]
    size = min(1024, len(part))
    near = rows.new_empty(size, len(rows))
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        for queries in part.split(size):
            nearest.cosines(queries, rows, out=near[: len(queries)])
        near.sum().item()  # waits for an accelerator
        times.append(time.perf_counter() - begun)
    return round(statistics.median(times[1:]) * len(rows) / len(part), 3)


def ours(rows: Tensor, labels: Tensor) -> Figures:
    """Evaluate as `dml eval` does."""
    own = torch.arange(len(rows), device=rows.device)
    found = metrics.evaluate(rows, labels, rows, labels, recall_at=RECALL_AT, own_rows=own)
    return found.shares()


def peer(rows: Tensor, labels: Tensor) -> Figures:
    """Evaluate by pytorch-metric-learning."""
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    depth = min(DEEPEST, len(rows) - 1)
    calculator = AccuracyCalculator(include=names, k=depth, device=rows.device)
    found = calculator.get_accuracy(rows, labels)
    return dict(zip(METRICS, (float(found[name]) for name in names), strict=True))


def by_faiss(rows: Tensor, labels: Tensor) -> Figures:
    """Search by FAISS, then look for right items as we do."""
    index, vectors, labels = faiss.IndexFlatIP(rows.shape[1]), rows.cpu().numpy(), labels.cpu()
    index.add(vectors)
    depth = min(DEEPEST, len(rows) - 1)
    near = torch.from_numpy(index.search(vectors, depth + 1)[1])
    own = torch.arange(len(rows))
    num_right = labels.bincount()[labels] - 1
    parts = []
    for part in own.split(4096):
        is_other = near[part] != own[part, None]
        is_other[is_other.all(dim=1), -1] = False  # nearer ones than itself pushed it out
        others = near[part][is_other].view(len(part), depth)
        hits = ranks.selected(others, labels[part], labels)
        parts.append(metrics.measure(hits, num_right[part], RECALL_AT, ()))
    found = metrics.PerQuery(torch.cat(parts), num_right > 0, RECALL_AT, ())
    return found.average().shares()


WAYS: dict[str, Callable[[Tensor, Tensor], Figures]] = {
    "ours": ours,
    "peer": peer,
    "faiss": by_faiss,
}


def example(num_rows: int, dim: int, device: str) -> tuple[Tensor, Tensor]:
    """Draw unit embeddings (N, D) around class centres, and labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_rows) % max(1, num_rows * NUM_CLASSES // FULL)
    rows = torch.randn(int(labels.max()) + 1, dim, generator=generator)[labels]
    for part in rows.split(4096):  # in place: the example must not set the peak
        part += 2 * torch.randn(part.shape, generator=generator)
        part.copy_(functional.normalize(part, dim=1))
    return rows.to(device), labels.to(device)


def version_of_peer() -> str:
    """Read which version of pytorch-metric-learning is installed."""
    return version("pytorch-metric-learning")


def line(found: dict[str, Any]) -> str:
    """Lay out a size as a row of a table."""
    middle = {name: f"{value:.2f} s" for name, value in found["median"].items()}
    gigabytes = ", ".join(f"{found['memory'][name]['peak_bytes'] / 1e9:.2f}" for name in WAYS)
    cells = (
        f"{found['rows']:,}",
        f"{found['product_alone']:.2f} s",
        middle["ours"],
        middle["peer"],
        str(found["peer_over_ours"]),
        middle["faiss"],
        str(found["faiss_over_ours"]),
        f"{gigabytes} GB",
    )
    return f"| {' | '.join(cells)} |"


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("evaluation_speed", __doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[FULL])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", choices=WAYS, help="run only this one, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
