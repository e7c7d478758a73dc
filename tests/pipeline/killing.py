"""Extractions that are killed between any two chunks and taken up again, for `test_killed`.

It forks, so that the libraries are imported once: each child extracts, the parent kills it. The
store that nobody kills is made by the parent, for an extraction imports some more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import zarr.storage  # noqa: F401  (before the forks)
from torch import Tensor, nn

from cache import FeatureStore
from pipeline.backbones._backbone import Backbone, freeze
from pipeline.datasets import load_manifest, table  # noqa: F401
from pipeline.extract import extract
from pipeline.extraction.pictures.images import Transform

STEP = 5  # rows of a chunk


class Small(nn.Module):
    """A network that costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.linspace(-1, 1, 16 * 3 * 32 * 32).reshape(16, -1).sin()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


def backbone() -> Backbone:
    half = (0.5, 0.5, 0.5)
    transform = Transform(resize=36, crop=32, interpolation="bilinear", mean=half, std=half)
    network = Small()
    return freeze(name="small", model=network, network=network, transform=transform, pool="avg")


def run(source: Path, store: Path) -> None:
    extract(
        load_manifest(source),
        store,
        backbone(),
        dtype="int8",
        chunk_rows=STEP,
        device="cpu",
    )


def in_a_child(source: Path, store: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        run(source, store)
    finally:
        os._exit(0)


def wait_for(store: Path, chunks: int) -> None:
    """Wait until so many chunks are finished, for a minute at most; -1: not for the store."""
    ledger, deadline = store / "ledger.jsonl", time.monotonic() + 60
    while chunks >= 0 and time.monotonic() < deadline:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= chunks:
            return
        time.sleep(0.001)


def facts(store: Path) -> tuple[str, list[str], list[int], int]:
    """Content hash, ids, numbers of the ledger's lines, damaged chunks."""
    opened = FeatureStore.open(store)
    opened.read()
    lines = [json.loads(line) for line in (store / "ledger.jsonl").read_text().splitlines()]
    numbers = sorted(line["chunk"] for line in lines)
    return opened.content_hash(), opened.rows["id"].to_pylist(), numbers, len(opened.verify())


def main(source: Path, folder: Path, times: int) -> None:
    run(source, folder / "whole.zarr")
    expected = facts(folder / "whole.zarr")
    chunks = len(expected[2])
    generator, killed = random.Random(0), []
    for number in range(times):
        store = folder / f"{number}.zarr"
        child = in_a_child(source, store)
        wait_for(store, number * (chunks - 2) // times - 1)  # from none to nearly all
        time.sleep(generator.uniform(0, 0.05))  # anywhere between two chunks
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        there = FeatureStore.open(store).finished_chunks if store.exists() else 0
        os.waitpid(in_a_child(source, store), 0)
        was_killed = os.WIFSIGNALED(status)
        killed.append([was_killed, there, facts(store) == expected])
    sys.stdout.write(json.dumps({"chunks": chunks, "killed": killed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
