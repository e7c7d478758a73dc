"""Claim: a whole extraction is at least 0.90 times as fast as the bare forward pass of its network.

Ours is `pipeline.extract.extract`: photos are read, decoded, resized, cropped, normalised, embedded
and written into a new store. The peer is the same network with the same weights and arithmetic,
channels-last, in inference mode, over uint8 pixels that lie in memory (on a GPU in its own) before
the clock starts. On a CPU the peer may run as one network with a thread for each core, or as one
single-thread network on each core; on a GPU as it is, or compiled; each with several batch sizes.
The fastest of all these is chosen first. Then the peer and we are measured in turn in one process,
`--pairs` times, and each pair gives a ratio.

A second ratio, on a CPU, is that of processor seconds a photo: other programs on the machine blur
it less than the first. The claim is about the first.

Reading, decoding and preparing alone, by as many threads as the extraction has, show the rate that
no extraction with the very same pixels can pass.

    uv run python benchmarks/extraction_rate.py --manifest photos.csv

writes benchmarks/results/extraction_rate.json: command, versions, hardware, photos a second.
Without --manifest it is the demo set. ResNet-50 has random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _report import head, parser_of, write
from torch import Tensor
from torchvision import models

from pipeline.backbones import load_backbone
from pipeline.backbones._backbone import Backbone
from pipeline.datasets import load_manifest
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.extract import extract
from pipeline.extraction.embed import pick_device, precision_of
from pipeline.extraction.overlap import compiled, run_network
from pipeline.extraction.pictures.decoding import decode
from pipeline.extraction.pictures.images import Transform, prepare

BACKBONES = ("efficientnet_lite0", "resnet50")
SIZES = {"cpu": (4, 8, 16, 32), "cuda": (64, 128, 256)}
WAYS = {"cpu": ("a network on each core", "one network"), "cuda": ("as it is", "compiled")}
LOADED = 256  # pictures that lie in memory for the peer
PROBE_SECONDS, PROBES = 1.0, 3  # seconds at most


class Rate(NamedTuple):
    """Pictures a second, and processor milliseconds a picture."""

    per_second: float
    cpu_ms: float


class Peer(NamedTuple):
    """The bare forward pass, in one of its ways."""

    way: str
    size: int
    backbone: Backbone
    precision: str


def main() -> None:
    """Measure every backbone; write and print what was found."""
    arguments = parse()
    device = pick_device(arguments.device)
    manifest = first(load_manifest(arguments.manifest), arguments.images)
    report: dict[str, Any] = {
        **head(__doc__, device.type),
        "photos": len(manifest),
        "cells": [measure(name, manifest, device, arguments) for name in arguments.backbone],
    }
    versions = {name: version(name) for name in ("torchvision", "timm", "pillow")}
    report["environment"]["versions"] |= versions
    write(arguments.out, report)
    print(table(report["cells"]))


def first(manifest: Manifest, count: int | None) -> Manifest:
    """Take the first photos of a manifest."""
    chosen = slice(count)
    return make_manifest(
        ids=manifest.ids[chosen],
        paths=manifest.paths[chosen],
        labels=manifest.labels[chosen],
        root=manifest.root,
    )


def load(name: str) -> Backbone:
    """Load a backbone; the weights of ResNet-50 are drawn at random."""
    if name != "resnet50":
        return load_backbone(name)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pth"
        torch.save(models.resnet50().state_dict(), weights)
        return load_backbone(name, weights=weights)


def measure(
    name: str, manifest: Manifest, device: torch.device, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measure one backbone: the fastest peer, then pairs of the peer and us, then decoding."""
    backbone, precision = load(name), precision_of(device)
    backbone.network.to(device=device).to(memory_format=torch.channels_last)
    pixels = preloaded(manifest, backbone.transform).to(device)
    found = peers(backbone, precision, device)
    duration = min(PROBE_SECONDS, arguments.seconds)
    rounds = [[bare(peer, pixels, duration) for peer in found] for _ in range(PROBES)]
    probes = [
        statistics.median(each.per_second for each in rates) for rates in zip(*rounds, strict=True)
    ]
    peer = found[probes.index(max(probes))]
    theirs, ours, remarks = [], [], []
    for _ in range(arguments.pairs):
        theirs.append(bare(peer, pixels, arguments.seconds))
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            report = extract(manifest, Path(folder) / "store", backbone, device=device.type)
        spent = time.process_time() - begun
        ours.append(Rate(report.images_per_second, 1000 * spent / len(manifest)))
        remarks = list(report.remarks)
    pairs = list(zip(ours, theirs, strict=True))
    by_cpu = spread([their.cpu_ms / our.cpu_ms for our, their in pairs])
    return {
        "backbone": name,
        "precision": precision,
        "peer": f"{peer.way}, batches of {peer.size}",
        "peer_probes": {
            f"{each.way}, {each.size}": round(rate, 1)
            for each, rate in zip(found, probes, strict=True)
        },
        "bare": [each._asdict() for each in theirs],
        "ours": [each._asdict() for each in ours],
        "ratio": spread([our.per_second / their.per_second for our, their in pairs]),
        "ratio_of_cpu_seconds": by_cpu if device.type == "cpu" else None,
        "prepared_per_second": round(prepared_rate(manifest, backbone.transform), 1),
        "remarks": remarks,
    }


def spread(values: list[float]) -> list[float]:
    """Return the least, the median and the largest value."""
    return [round(each, 3) for each in (min(values), statistics.median(values), max(values))]


def preloaded(manifest: Manifest, transform: Transform) -> Tensor:
    """Prepare the first pictures: (N, 3, H, W) uint8, channels-last."""
    paths = [manifest.root / path for path in manifest.paths[:LOADED]]
    pictures = [torch.from_numpy(prepare(decode(path), transform).copy()) for path in paths]
    return torch.stack(pictures).contiguous(memory_format=torch.channels_last)


def peers(backbone: Backbone, precision: str, device: torch.device) -> list[Peer]:
    """List all ways of the bare forward pass on this device."""
    found = []
    for way in WAYS[device.type]:
        for size in SIZES[device.type]:
            chosen = backbone
            if way == "compiled":
                chosen = compiled(
                    backbone, device=device, precision=precision, size=size, remark=print
                )
            found.append(Peer(way, size, chosen, precision))
    return found


def bare(peer: Peer, pixels: Tensor, seconds: float) -> Rate:
    """Run the bare forward pass for about some seconds."""
    batches = [batch for batch in pixels.split(peer.size) if len(batch) == peer.size]
    workers = torch.get_num_threads() if peer.way == WAYS["cpu"][0] else 1
    with threads(1 if workers > 1 else None), ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(forward, peer, batches), [0.0] * workers))  # warm up: one batch each
        begun, spent = time.perf_counter(), time.process_time()
        count = sum(pool.map(partial(forward, peer, batches), [seconds] * workers))
        spent = time.process_time() - spent
        return Rate(count / (time.perf_counter() - begun), 1000 * spent / count)


def forward(peer: Peer, batches: list[Tensor], seconds: float) -> int:
    """Embed batches, again and again, until the time is over: how many pictures it were."""
    done, end = 0, time.perf_counter() + seconds
    while True:
        features = run_network(peer.backbone, batches[done % len(batches)], peer.precision)
        done += 1
        if time.perf_counter() >= end:
            features.cpu()  # waits for a GPU
            return done * peer.size


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Give torch's operators so many threads each; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepared_rate(manifest: Manifest, transform: Transform) -> float:
    """Read, decode and prepare pictures on all cores, without any network: pictures a second."""
    paths = [manifest.root / path for path in manifest.paths[:1024]]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda path: prepare(decode(path), transform).shape, paths))
        return len(paths) / (time.perf_counter() - begun)


def table(cells: list[dict[str, Any]]) -> str:
    """Lay out the cells as Markdown."""
    names = ("bare forward, photos/s", "whole extraction", "ratio", "of CPU seconds")
    lines = [f"| backbone | {' | '.join(names)} | decoding alone |", "|---" * 6 + "|"]
    for cell in cells:
        theirs, ours = (
            statistics.median(rate["per_second"] for rate in cell[who]) for who in ("bare", "ours")
        )
        row = [
            f"{cell['backbone']}, {cell['precision']}",
            f"{theirs:.0f} ({cell['peer']})",
            f"{ours:.0f}",
            *(shown(cell[name]) for name in ("ratio", "ratio_of_cpu_seconds")),
            f"{cell['prepared_per_second']:.0f}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def shown(ratio: list[float] | None) -> str:
    """Write a median with its range."""
    return f"{ratio[1]:.2f} ({ratio[0]:.2f}-{ratio[2]:.2f})" if ratio else "-"


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = parser_of("extraction_rate", __doc__)
    parser.add_argument("--manifest", type=Path, help="the photos; default: the demo set")
    parser.add_argument("--images", type=int, help="take only so many, from the first on")
    parser.add_argument("--backbone", nargs="+", default=BACKBONES, help="which networks")
    parser.add_argument("--pairs", type=int, default=3, help="measurements of each")
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of a bare forward")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
