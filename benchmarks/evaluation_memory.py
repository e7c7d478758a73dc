"""Claim: evaluating 60,502 embeddings of 512 dimensions takes less than 2 GB of memory in all.

That is the test set of Stanford Online Products, each row searched among all others: a matrix of
all cosines would be 15 GB. Measured is the peak resident memory of a process that makes random
embeddings around 11,316 class centres (5 or 6 rows each, one row in 100 an exact copy of another)
and computes Recall@1, 10, 100, 1000, R-precision, MAP@R and MAP@100. A second case has one class of
half the rows, for which 30,250 neighbours of a query are ranked; 500 of its rows search, because
memory is bounded tile by tile.

    uv run python benchmarks/evaluation_memory.py

writes benchmarks/results/evaluation_memory.json: command, versions, hardware, memory and seconds.
What is there before the search is Python, torch and the embeddings.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch
from _process import in_own_process, peak_bytes
from _report import head, parser_of, write
from torch import Tensor
from torch.nn import functional

from pipeline.measures import metrics

CASES = ("small classes", "one huge class")
NUM_CLASSES = 11_316
RECALL_AT, MAP_AT = (1, 10, 100, 1000), (100,)
BOUND = 2e9


def main() -> None:
    """Measure every case in a process of its own; write and print what was found."""
    arguments = parse()
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.rows, arguments.dim)))
        return
    cases = {case: in_own_process("--case", case) for case in CASES}
    report = {
        **head(__doc__),
        "rows": arguments.rows,
        "dim": arguments.dim,
        "recall_at": RECALL_AT,
        "map_at": MAP_AT,
        "cases": cases,
    }
    write(arguments.out, report)
    said = (
        f"{case}: {each['peak_bytes'] / 1e9:.2f} GB, {each['seconds']} s"
        for case, each in cases.items()
    )
    print(f"{arguments.rows:,} x {arguments.dim}: " + "; ".join(said))
    if max(each["peak_bytes"] for each in cases.values()) >= BOUND:
        sys.exit("more than 2 GB")


def measure(case: str, num_rows: int, dim: int) -> dict[str, float]:
    """Evaluate once in this process."""
    embeddings, labels = example(case, num_rows, dim)
    own = torch.arange(num_rows) if case == CASES[0] else torch.arange(num_rows)[:500]
    before, begun = peak_bytes(), time.perf_counter()
    found = metrics.evaluate(
        embeddings if len(own) == num_rows else embeddings[own],
        labels[own],
        embeddings,
        labels,
        recall_at=RECALL_AT,
        map_at=MAP_AT,
        own_rows=own,
    )
    return {
        "queries": len(own),
        "largest_class": int(labels.bincount().max()),
        "before_the_search_bytes": before,
        "peak_bytes": peak_bytes(),
        "seconds": round(time.perf_counter() - begun, 1),
        **{name: round(value, 4) for name, value in found.shares().items()},
    }


def example(case: str, num_rows: int, dim: int) -> tuple[Tensor, Tensor]:
    """Draw embeddings (N, D) and labels (N,); the first half is one class in the second case."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_rows) % max(1, num_rows * NUM_CLASSES // 60_502)
    if case == CASES[1]:
        labels[: num_rows // 2] = 0
    rows = torch.randn(int(labels.max()) + 1, dim, generator=generator)[labels]
    for part in rows.split(4096):  # in place: the example must not set the peak
        part += 2 * torch.randn(part.shape, generator=generator)
        part.copy_(functional.normalize(part, dim=1))
    rows[::100] = rows[torch.randint(num_rows, (len(rows[::100]),), generator=generator)]
    return rows, labels


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("evaluation_memory", __doc__)
    parser.add_argument("--rows", type=int, default=60_502)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--case", choices=CASES, help="measure only this one, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
