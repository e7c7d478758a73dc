"""Evaluates a run: its embeddings beside the untrained features, on the same queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import InputError
from cache.store import FeatureStore
from pipeline.extraction.embed import pick_device
from pipeline.measures.agreement import Agreement, agreement
from pipeline.measures.breakdown import by_group
from pipeline.measures.k_means import k_means
from pipeline.measures.metrics import PerQuery, Retrieval, per_query
from pipeline.measures.search import Form
from pipeline.program import heads
from pipeline.program.rows import Rows as Features
from pipeline.program.rows import gathered
from pipeline.runs.opening import refuse_other_store
from pipeline.runs.record import Run
from pipeline.training.loading import RESIDENT, hold
from pipeline.training.protocol import Rows, Split, split
from pipeline.transforms.transform import Transform

UNTRAINED = "untrained"
DEFAULT_RECALL = (1, 2, 4, 8)
CLUSTERING_SEED = 0  # of the k-means behind NMI and AMI
By = Literal["class", "superlabel"]


@dataclass(frozen=True)
class Group:
    """The queries of one class or superclass.

    Attributes:
        name: of the class.
        rows: as in `Evaluation`.
    """

    name: str
    rows: dict[str, Retrieval]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        protocol: its name.
        split: the rows and labels behind it.
        rows: name -> metrics; "untrained" is the raw frozen features (left out where they do not
            fit into the memory), then the run after its last epoch and, with validation, after the
            epoch that validation has selected.
        device: where the search ran.
        forms: of search that were used, see `pipeline.measures.ranks`.
        by: what the queries were grouped by, if at all.
        groups: those groups, the one with the lowest MAP@R after the last epoch first, those
            without a query that has a match last.
        clusterings: name -> agreement of a k-means clustering of the queries with their classes;
            empty if it was not asked for.
    """

    protocol: str
    split: Split
    rows: dict[str, Retrieval]
    device: str
    forms: tuple[Form, ...]
    by: By | None = None
    groups: tuple[Group, ...] = ()
    clusterings: dict[str, Agreement] = field(default_factory=dict)


def evaluate_run(
    run: Run,
    store: FeatureStore,
    *,
    recall_at: tuple[int, ...] = DEFAULT_RECALL,
    map_at: tuple[int, ...] = (),
    by: By | None = None,
    clustering: bool = False,
    device: str = "auto",
) -> Evaluation:
    """Evaluate a run and the untrained features with exact search by cosine.

    Labels of queries and gallery are the true ones where the manifest has them, never injected.

    Args:
        run: what was trained.
        store: what it was trained on.
        recall_at: the K of Recall@K.
        map_at: the K of MAP@K.
        by: also measure the queries of each true class or superlabel on their own.
        clustering: also cluster the queries by k-means, as many clusters as they have classes.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: the store is not the one that the run was trained on, or has no superlabels, or
            the untrained features are all that there is to show, or to compare groups with, and
            they do not fit into the memory.
    """
    refuse_other_store(run, store)
    store = store.choose(run.settings.features)
    if by == "superlabel" and by not in store.rows.column_names:
        raise InputError(
            f"{store.path} has no superlabels: add a column superlabel to its manifest and extract "
            "again, or use --by class"
        )
    rows = store.readable_rows()
    roles = split(rows, run.settings.protocol)
    target = pick_device(device)
    count = len(roles.gallery) + (len(roles.query) if roles.own_rows is None else 0)
    wide = 4 * store.num_features * count  # bytes of the untrained features in float32
    values, _, held = hold(store, target, beside=wide)
    is_shown = held["held"] == RESIDENT or wide <= held["memory_bytes"]
    if not is_shown and (by or not run.settings.has_head):
        raise InputError(
            f"the untrained features take {wide / 1e9:.3g} GB and {held['memory_bytes'] / 1e9:.3g} "
            "GB are free: evaluate a trained run without --by, or use a machine with more memory"
        )
    spaces: dict[str, Callable[[Tensor], Tensor]] = {UNTRAINED: normalized} if is_shown else {}
    if run.settings.has_head:
        spaces[run.path.name] = embedder(run, target)
    if run.record["validation"] is not None:
        epoch = run.record["validation"]["selected_epoch"]
        spaces[f"{run.path.name}, epoch {epoch}"] = embedder(run, target, "selected")
    measured: dict[str, PerQuery] = {}
    clusterings: dict[str, Agreement] = {}
    for name, space in spaces.items():
        queries, gallery = embedded(values, roles, space)
        measured[name] = search(queries, gallery, roles, recall_at, map_at)
        if clustering:
            clusterings[name] = _cluster(queries, roles)
    return Evaluation(
        roles.protocol,
        roles,
        {name: each.average() for name, each in measured.items()},
        target.type,
        tuple(sorted({form for each in measured.values() for form in each.forms})),
        by,
        _groups(measured, *_names(rows, roles, by)) if by else (),
        clusterings,
    )


def embed(run: Run, features: Tensor, epoch: Literal["head", "selected"] = "head") -> Tensor:
    """Embed raw features (N, F) of any float type by a run's transform and head: (N, D).

    The head is that of the last epoch, or the one of the epoch that validation has selected.
    """
    return embedder(run, features.device, epoch)(features)


def embedder(
    run: Run, device: torch.device, epoch: Literal["head", "selected"] = "head"
) -> Callable[[Tensor], Tensor]:
    """Read a run's transform and head, and return what embeds raw features on a device by them."""
    tensors = {name: tensor.to(device) for name, tensor in run.weights().items()}
    transform = Transform.restored(tensors)
    head = {
        name.removeprefix(f"{epoch}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{epoch}.")
    }
    return lambda features: heads.embed(head, transform(features))


def normalized(features: Tensor) -> Tensor:
    """Bring raw features (N, F) of any float type to unit norm: the space of the untrained."""
    return functional.normalize(features.float(), dim=1)


def embedded(
    values: Features, roles: Split, space: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Embed queries and gallery tile by tile, once where they are the same."""
    gallery = gathered(values, roles.gallery, space)
    if np.array_equal(roles.query, roles.gallery):
        return gallery, gallery
    return gathered(values, roles.query, space), gallery


def search(
    queries: Tensor,
    gallery: Tensor,
    roles: Split,
    recall_at: tuple[int, ...],
    map_at: tuple[int, ...],
) -> PerQuery:
    """Rank the gallery for every query, with true labels; embeddings as `embedded` gives them."""

    def put(numbers: Rows) -> Tensor:
        return torch.from_numpy(numbers).to(gallery.device)

    return per_query(
        queries,
        put(roles.true[roles.query]),
        gallery,
        put(roles.true[roles.gallery]),
        recall_at=recall_at,
        map_at=map_at,
        own_rows=None if roles.own_rows is None else put(roles.own_rows),
    )


def _cluster(queries: Tensor, roles: Split) -> Agreement:
    """Cluster the queries, as many clusters as classes, and compare with the classes."""
    true = roles.true[roles.query]
    num_classes = len(np.unique(true))
    clusters = k_means(queries, num_classes, seed=CLUSTERING_SEED)
    return agreement(true, clusters.cpu().numpy(), num_classes)


def _names(rows: pa.Table, roles: Split, by: By) -> tuple[list[str], Rows]:
    """Name the groups and number each query's: (Q,) int64."""
    if by == "class":
        present, group = np.unique(roles.true[roles.query], return_inverse=True)
        return [roles.classes[number] for number in present], group
    names, group = np.unique(
        np.array(rows["superlabel"].to_pylist())[roles.query], return_inverse=True
    )
    return names.tolist(), group


def _groups(measured: dict[str, PerQuery], names: list[str], group: Rows) -> tuple[Group, ...]:
    """Average the metrics of each group; the worst by MAP@R after the last epoch first."""
    found = {
        row: by_group(each, torch.from_numpy(group), len(names)) for row, each in measured.items()
    }
    groups = [
        Group(name, {row: each[at] for row, each in found.items()}) for at, name in enumerate(names)
    ]
    return tuple(sorted(groups, key=_rank))


def _rank(group: Group) -> tuple[bool, float]:
    trained = list(group.rows.values())[:2][-1]
    return (True, 0.0) if not trained.num_queries else (False, trained.map_at_r)
