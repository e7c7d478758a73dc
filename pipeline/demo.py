"""The guided tour: a built-in set, wrong labels injected, three methods, one table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.backbones import load_backbone
from pipeline.choices.settings import Settings
from pipeline.datasets.demo import demo_manifest
from pipeline.evaluate import UNTRAINED, evaluate_run
from pipeline.extract import extract
from pipeline.measures.metrics import Retrieval
from pipeline.runs.record import Run
from pipeline.train import train

BACKBONE = "efficientnet_lite0"
METHODS = ("proxy-anchor", "prism", "auto")
NOISE = "symmetric:0.4"

Progress = Callable[[int, int], None]
Stage = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Row:
    """One method's results, or those of the untrained features.

    Attributes:
        method: its name.
        clean: metrics after training on the right labels.
        noisy: metrics after training on the noisy labels.
        found: share of the wrong labels that were dropped; None where the method drops none.
        right: share of the dropped labels that were wrong; likewise.
        seconds: training time of both runs.
    """

    method: str
    clean: Retrieval
    noisy: Retrieval
    found: float | None
    right: float | None
    seconds: float


def demo(folder: Path, stage: Stage, *, seed: int = 0, device: str = "auto") -> list[Row]:
    """Extract the demo set, train on right and on noisy labels, evaluate.

    What is finished is not done again: the store and the runs stay in the folder.

    Args:
        folder: for the store and the runs.
        stage: opens a named piece of work that is told its progress.
        seed: of training and noise.
        device: "auto", "cpu", "cuda" or "mps".
    """
    with stage("rendering 1,600 pictures") as progress:
        manifest = demo_manifest(progress)
    backbone = load_backbone(BACKBONE)
    with stage(f"extracting features ({BACKBONE})") as progress:
        report = extract(
            manifest, folder / "features.zarr", backbone, device=device, progress=progress
        )
    store = FeatureStore.open(report.store)
    rows: list[Row] = []
    for method in METHODS:
        runs: dict[str, Run] = {}
        for name, noise in (("clean", None), ("noisy", NOISE)):
            settings = Settings(loss=method, noise=noise, seed=seed)
            path = folder / "runs" / f"{method}-{name}-seed{seed}"
            with stage(f"training {method} on {name} labels") as progress:
                runs[name] = _trained(store, settings, path, device, progress)
        before, after = _compare(method, runs["clean"], runs["noisy"], store, device)
        rows += [after] if rows else [before, after]
    return rows


def _trained(
    store: FeatureStore, settings: Settings, path: Path, device: str, progress: Progress
) -> Run:
    """Take the run of an earlier demo if it is the same, else train it."""
    if path.exists():
        run = Run.open(path)
        is_same = run.record["store"]["fingerprint"] == store.fingerprint.digest()
        if run.settings == settings and is_same:
            return run
        raise InputError(
            f"{path} is another run than the demo's: remove it, or name another folder"
        )
    return train(store, settings, path, device=device, progress=progress)


def _compare(
    method: str, clean: Run, noisy: Run, store: FeatureStore, device: str
) -> tuple[Row, Row]:
    """Evaluate both runs: a row of the untrained features, and the method's row."""
    on_clean = evaluate_run(clean, store, device=device).rows
    on_noisy = evaluate_run(noisy, store, device=device).rows
    found = noisy.record["selection"]["detection"]
    has_dropped = noisy.record["selection"]["dropped"] > 0
    return (
        Row(UNTRAINED, on_clean[UNTRAINED], on_noisy[UNTRAINED], None, None, 0.0),
        Row(
            method,
            on_clean[clean.path.name],
            on_noisy[noisy.path.name],
            found["recall"] if has_dropped else None,
            found["precision"] if has_dropped else None,
            clean.record["seconds"] + noisy.record["seconds"],
        ),
    )
