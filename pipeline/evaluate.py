"""Evaluates a run: its embeddings beside the untrained features, on the same queries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cache.store import FeatureStore
from pipeline.embed import pick_device
from pipeline.measures.metrics import Retrieval, evaluate
from pipeline.program import heads
from pipeline.protocol import Split, split
from pipeline.runs.opening import refuse_other_store
from pipeline.runs.record import Run

UNTRAINED = "untrained"
DEFAULT_RECALL = (1, 2, 4, 8)


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        protocol: its name.
        split: the rows and labels behind it.
        rows: name -> metrics; "untrained" is the raw frozen features.
        device: where the search ran.
    """

    protocol: str
    split: Split
    rows: dict[str, Retrieval]
    device: str


def evaluate_run(
    run: Run,
    store: FeatureStore,
    *,
    recall_at: tuple[int, ...] = DEFAULT_RECALL,
    device: str = "auto",
) -> Evaluation:
    """Evaluate a run and the untrained features with exact search by cosine.

    Labels of queries and gallery are the true ones where the manifest has them, never injected.

    Raises:
        InputError: the store is not the one that the run was trained on.
    """
    refuse_other_store(run, store)
    features = store.read()
    roles = split(features.rows, run.settings.protocol)
    target = pick_device(device)
    values = torch.from_numpy(features.values).to(target)
    rows = {UNTRAINED: _search(functional.normalize(values.float(), dim=1), roles, recall_at)}
    if run.settings.recipe.loss is not None:
        rows[run.path.name] = _search(embed(run, values), roles, recall_at)
    return Evaluation(roles.protocol, roles, rows, target.type)


def embed(run: Run, features: Tensor) -> Tensor:
    """Embed raw features (N, F) of any float type by a run's centring and head: (N, D)."""
    tensors = {name: tensor.to(features.device) for name, tensor in run.weights().items()}
    centring = heads.Centring(tensors["mean"], tensors["scale"])
    head = {
        name.removeprefix("head."): tensor
        for name, tensor in tensors.items()
        if name.startswith("head.")
    }
    return heads.embed(head, centring(features))


def _search(embeddings: Tensor, roles: Split, recall_at: tuple[int, ...]) -> Retrieval:
    true = torch.from_numpy(roles.true).to(embeddings.device)
    query = torch.from_numpy(roles.query).to(embeddings.device)
    gallery = torch.from_numpy(roles.gallery).to(embeddings.device)
    own = None if roles.own_rows is None else torch.from_numpy(roles.own_rows).to(true.device)
    return evaluate(
        embeddings[query],
        true[query],
        embeddings[gallery],
        true[gallery],
        recall_at=recall_at,
        own_rows=own,
    )
