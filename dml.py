"""dml from Python: what the commands do, as functions.

    import dml

    store = dml.extract("photos/", "photos.zarr", backbone="efficientnet_lite0")
    run = dml.train(store, "prism", noise="symmetric:0.2")
    dml.evaluate(run).rows["prism"].recall[1]
    vectors = dml.embed(run, ["cat.jpg", "dog.jpg"])  # (2, 512) float32, unit norm

A store or run may be given by its path, too. Every error that a user can act on is a `DmlError`
with a message of one line. Nothing is printed; long work takes `progress`, a function that is told
what is done and how much there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from cache.errors import DmlError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache.store import FeatureStore
    from pipeline.audit.findings import Findings
    from pipeline.choices.catalogue import Value
    from pipeline.evaluate import Evaluation
    from pipeline.export import Exported
    from pipeline.runs.record import Run
    from pipeline.search import SearchReport

    AnyStore: TypeAlias = FeatureStore | str | Path
    AnyRun: TypeAlias = Run | str | Path

__all__ = [
    "DmlError",
    "audit",
    "embed",
    "evaluate",
    "export",
    "extract",
    "open_run",
    "open_store",
    "search",
    "train",
]

Progress: TypeAlias = Callable[[int, int], None]
Protocol: TypeAlias = Literal["query-gallery", "class-disjoint"]
Validation: TypeAlias = Literal["classes", "rows", "split"]
Head: TypeAlias = Literal["linear", "residual", "mlp"]
Format: TypeAlias = Literal["onnx", "torchscript", "safetensors"]
_NAMED = 3  # unreadable images that an error names


def _quiet(done: int, total: int) -> None:
    """Tell nobody how far it is."""


def extract(
    images: str | Path | None,
    store: str | Path,
    *,
    backbone: str = "resnet50",
    weights: str | Path | None = None,
    pool: str | None = None,
    dtype: str = "float16",
    update: bool = False,
    device: str = "auto",
    progress: Progress = _quiet,
) -> FeatureStore:
    """Run a frozen backbone over all images and store the features; goes on where it was stopped.

    Args:
        images: a folder of class folders, a .csv or .parquet table with the columns path and label,
            also at a URL; None is the built-in demo set.
        store: path or URL of a new store, or of one that was begun with the same facts.
        backbone: "resnet50", "efficientnet_lite0", "timm:NAME" or "torchvision:NAME".
        weights: file of its weights; None takes the published ones.
        pool: "avg", "max", ..., or several as in "avg,max"; None is the backbone's own.
        dtype: number format in the store.
        update: whether an existing store may get other images.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the images done and all images.

    Raises:
        DmlError: something does not fit, cannot be read or has no room; what is finished stays.
    """
    from pipeline.backbones import load_backbone
    from pipeline.datasets import load_manifest
    from pipeline.extract import extract as run_extraction

    manifest = load_manifest(images)
    network = load_backbone(backbone, weights=_path(weights), pool=pool)
    report = run_extraction(
        manifest, store, network, dtype=dtype, update=update, device=device, progress=progress
    )
    return open_store(report.store)


def open_store(path: str | Path, features: str | None = None) -> FeatureStore:
    """Open a feature store; `.rows` is its table of images, `.read()` gives the features.

    Args:
        path: of the store, also a URL.
        features: which of its `.feature_names`, or the mean over views, "avg@mean"; None = the
            first.

    Raises:
        DmlError: there is no store, or it has no such features.
    """
    from cache.store import FeatureStore

    return FeatureStore.open(path, features)


def open_run(path: str | Path) -> Run:
    """Open a finished run; `.record` is what happened, `.labels()` what became of each label.

    Args:
        path: its folder.

    Raises:
        DmlError: there is no run.
    """
    from pipeline.runs.record import Run

    return Run.open(Path(path))


def train(
    store: AnyStore,
    loss: str = "auto",
    *,
    path: str | Path | None = None,
    selection: str | None = None,
    noise: str | None = None,
    labels: str | Path | None = None,
    transform: str | None = None,
    epochs: int | None = None,
    dim: int | None = None,
    head: Head | None = None,
    hidden: int | None = None,
    dropout: float | None = None,
    feature_noise: float | None = None,
    views: Literal["random"] | None = None,
    batch_size: int | None = None,
    protocol: Protocol | None = None,
    validation: Validation | None = None,
    seed: int = 0,
    budget: float | None = None,
    options: Mapping[str, Value] | None = None,
    device: str = "auto",
    progress: Progress = _quiet,
) -> Run:
    """Train an embedding on stored features.

    Args:
        store: the features; one that was opened with `features` trains on those.
        loss: a recipe, a loss or a closed form: `dml list losses`; "auto" chooses one.
        path: folder of the new run; None is the next free one in `dml-out/runs/`.
        selection: which rows count: `dml list selections`; None = the recipe's.
        noise: labels made wrong on purpose, as in "symmetric:0.2"; None = as they are.
        labels: file of corrected labels; None = those of the store.
        transform: what is done to features before the head, as in "power:0.5,centre,whiten:0.2";
            None = the recipe's.
        epochs: passes over the training rows; None, here and below: as `dml train` does.
        dim: length of an embedding.
        head: what is trained: "linear", "residual" or "mlp".
        hidden: width of the head's hidden layer.
        dropout: share of the features that a step leaves out, below 1.
        feature_noise: deviation of normal noise on the features in a step, in units of each one's.
        views: "random" = a step sees the picture or one of its stored views, drawn each time.
        batch_size: rows in each step.
        protocol: "query-gallery" or "class-disjoint".
        validation: which training rows find the best epoch: "classes", "rows" or "split".
        seed: of start, batches and noise.
        budget: seconds that "auto" may take to choose.
        options: what else `dml train --set` takes, as in {"loss.margin": 0.2, "lr": 1e-3}.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total epochs.

    Raises:
        DmlError: a name, an option or the path does not fit, or the training diverged.
    """
    from pipeline.choices.settings import Settings
    from pipeline.runs import workspace
    from pipeline.runs.record import free_path
    from pipeline.train import train as run_training

    opened = _opened(store)
    given = {
        "selection": selection,
        "noise": noise,
        "labels": None if labels is None else str(labels),
        "transform": transform,
        "features": None if opened.features == opened.feature_names[0] else opened.features,
        "epochs": epochs,
        "dim": dim,
        "head": head,
        "hidden": hidden,
        "dropout": dropout,
        "feature_noise": feature_noise,
        "views": views,
        "batch_size": batch_size,
        "protocol": protocol,
        "validation": validation,
        "budget": budget,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    changes = [f"{key}={_text(value)}" for key, value in (options or {}).items()]
    settings = Settings(loss=loss, seed=seed).replaced(**chosen).with_changes(changes).check()
    settings.refuse_idle(chosen)
    place = Path(path) if path is not None else free_path(workspace.RUNS, loss)
    return run_training(opened, settings, place, device=device, progress=progress)


def evaluate(
    run: AnyRun,
    store: AnyStore | None = None,
    *,
    recall: Sequence[int] = (1, 2, 4, 8),
    device: str = "auto",
) -> Evaluation:
    """Compare a run with the untrained features.

    Args:
        run: what was trained.
        store: what it was trained on; None is the one that the run names.
        recall: the K of Recall@K.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        `.rows` has for "untrained" and for the run's name what was measured: `.recall[1]`,
        `.r_precision`, `.map_at_r`, shares in [0, 1].

    Raises:
        DmlError: the run or the store cannot be read, or do not belong together.
    """
    from pipeline.evaluate import evaluate_run

    if not recall or min(recall) < 1:
        raise InputError(f"recall is {list(recall)}: expected whole numbers of at least 1")
    chosen, opened = _both(run, store)
    return evaluate_run(chosen, opened, recall_at=tuple(recall), device=device)


def embed(
    run: AnyRun,
    images: Sequence[str | Path],
    *,
    store: AnyStore | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    progress: Progress = _quiet,
) -> NDArray[np.float32]:
    """Embed image files as the run's store was embedded.

    Args:
        run: what was trained.
        images: N paths or URLs.
        store: what the run was trained on; None is the one that it names.
        weights: file of the backbone's weights; None takes the published ones.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the images done and all images.

    Returns:
        (N, D) float32 of unit norm.

    Raises:
        DmlError: an image cannot be read, or the backbone of the store is not to be had.
    """
    from pipeline.retrieval.queries import embed_images
    from pipeline.retrieval.space import space_of

    space = space_of(*_both(run, store), device=device)
    found = embed_images(space, _names(images), weights=_path(weights), progress=progress)
    if found.unreadable:
        some = [f"{name}: {why}" for name, why in list(found.unreadable.items())[:_NAMED]]
        raise InputError(
            f"{len(found.unreadable):,} of {len(images):,} images cannot be read "
            f"({'; '.join(some)}): leave them out"
        )
    return found.embeddings


def search(
    run: AnyRun,
    images: Sequence[str | Path],
    *,
    k: int = 10,
    threshold: float | None = None,
    store: AnyStore | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    progress: Progress = _quiet,
) -> SearchReport:
    """Find the images of a run's store that look most like others; exact, by cosine.

    Args:
        run: what was trained.
        images: paths or URLs.
        k: how many to find for each.
        threshold: the least cosine of a match; None lets all match.
        store: what the run was trained on; None is the one that it names.
        weights: file of the backbone's weights; None takes the published ones.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the images done and all images.

    Returns:
        `.answers` has one for each readable image: `.hits` (`.id`, `.label`, `.cosine`), nearest
        first, and the `.label` that most of them have; `.unreadable` names the other images. A run
        that was trained with corrected labels shows these, and finds no dropped image.

    Raises:
        DmlError: no image can be read, or the backbone of the store is not to be had.
    """
    from pipeline.retrieval.space import space_of
    from pipeline.search import search as run_search

    if k < 1:
        raise InputError(f"k is {k}: expected a whole number of at least 1")
    return run_search(
        space_of(*_both(run, store), device=device),
        _names(images),
        top=k,
        threshold=threshold,
        weights=_path(weights),
        progress=progress,
    )


def audit(
    of: AnyStore | AnyRun,
    *,
    noise: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = _quiet,
) -> Findings:
    """Find the training images whose label is probably wrong, and the label that fits better.

    Args:
        of: a store, or a run, whose training then counts, too.
        noise: labels of the store made wrong first, to measure how many are found.
        out: folder for the findings; None writes nothing.
        seed: of that noise and of the audit.
        device: "auto", "cpu", "cuda" or "mps".
        progress: is told the finished and the total steps.

    Returns:
        `.table` has a row for each training image, most suspicious first (`id`, `given_label`,
        `suggested_label`, `p_wrong`, `reason`, ...), `.suspects()` lists those to look at,
        `.summary` tells the estimated noise rate.

    Raises:
        DmlError: there are too few images or classes, or something cannot be read or written.
    """
    from pipeline.audit.audit import audit_run, audit_store
    from pipeline.audit.findings import check_folder
    from pipeline.runs.record import Run, is_run

    if out is not None:
        check_folder(Path(out))
    if isinstance(of, Run) or (isinstance(of, str | Path) and is_run(Path(of))):
        if noise is not None:
            raise InputError(f"noise is {noise!r}: a run has its own, audit its store instead")
        found = audit_run(*_both(of, None), seed=seed, device=device, progress=progress)
    else:
        store = _opened(of)
        found = audit_store(
            store, noise=noise, features=store.features, seed=seed, device=device, progress=progress
        )
    if out is not None:
        found.save(Path(out))
    return found


def export(
    run: AnyRun,
    out: str | Path,
    *,
    format: Format = "onnx",
    with_backbone: bool = False,
    epoch: Literal["last", "selected"] = "last",
    store: AnyStore | None = None,
    weights: str | Path | None = None,
    figures: bool = True,
    force: bool = False,
    progress: Progress = _quiet,
) -> Exported:
    """Write a run as a model file with a model card, after comparing the file with the run.

    Args:
        run: what was trained.
        out: a new folder, or a model file, beside which the card is put.
        format: "onnx" (needs `pip install 'dml[onnx]'`), "torchscript" or "safetensors".
        with_backbone: from pictures, resized and cropped, to embeddings; else from features.
        epoch: weights of the last epoch, or of the one that validation selected.
        store: what the run was trained on; None is the one that it names.
        weights: file of the backbone's weights; None takes the published ones.
        figures: whether the card says what `evaluate` measures.
        force: whether an earlier export there is replaced.
        progress: is told the finished and the total steps.

    Returns:
        `.files`: the model, README.md and card.json; `.card`: what is in that.

    Raises:
        DmlError: something does not fit, or the file would give other embeddings than the run;
            nothing is written then.
    """
    from pipeline.export import export as run_export

    chosen, opened = _both(run, store)
    return run_export(
        chosen,
        opened,
        Path(out),
        format=format,
        with_backbone=with_backbone,
        epoch=epoch,
        weights=_path(weights),
        figures=figures,
        force=force,
        progress=progress,
    )


def _opened(store: AnyStore) -> FeatureStore:
    return open_store(store) if isinstance(store, str | Path) else store


def _both(run: AnyRun, store: AnyStore | None) -> tuple[Run, FeatureStore]:
    """Open a run and its store, as far as they are not open yet."""
    from pipeline.runs.opening import open_run as open_both
    from pipeline.runs.opening import refuse_other_store

    if store is None or isinstance(store, str | Path):
        path = Path(run) if isinstance(run, str | Path) else run.path
        return open_both(path, store)
    chosen = open_run(run) if isinstance(run, str | Path) else run
    refuse_other_store(chosen, store)
    return chosen, store


def _names(images: Sequence[str | Path]) -> list[str]:
    if isinstance(images, str | Path):
        raise InputError(f"images is {str(images)!r}: expected a list of paths")
    return [str(image) for image in images]


def _text(value: Value) -> str:
    """Write a value as a user of the command would."""
    return value if isinstance(value, str) else json.dumps(value)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
