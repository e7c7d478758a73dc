"""Runs of an ablation: trained together, as one program, and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cache.errors import InputError
from cache.store import Features
from pipeline.choices.assembly import method_of
from pipeline.choices.settings import Settings
from pipeline.evaluate import embedded, normalized, search
from pipeline.extraction.embed import pick_device
from pipeline.labels.corrected import corrected
from pipeline.measures.detection import detection
from pipeline.measures.metrics import Retrieval
from pipeline.program import heads
from pipeline.program.loop import Way, usual_way
from pipeline.program.rows import Streamed
from pipeline.runs import provenance
from pipeline.runs.cells import Figures
from pipeline.runs.results import SELECTED
from pipeline.runs.unfinished import Unfinished
from pipeline.selection._state import DOUBTFUL
from pipeline.training.learn import Learned, learn
from pipeline.training.protocol import Name, Split, split
from pipeline.training.validation import hold_out
from pipeline.transforms.chain import Chain

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Ground:
    """What all cells of an ablation stand on.

    Attributes:
        features: of the store.
        values: (M, F) the same on the device that trains.
        roles: protocol as it was asked for -> roles of the rows.
        recall_at: the K of Recall@K.
        environment: versions, hardware and git revision, by name.
        way: how steps are taken, see `Program`.
        pictures: features of each picture of all rows, where cells draw among them.
    """

    features: Features
    values: Tensor
    roles: Mapping[Name | None, Split]
    recall_at: tuple[int, ...]
    environment: Mapping[str, Any]
    way: Way
    pictures: tuple[Streamed, ...] = ()

    @classmethod
    def prepare(
        cls,
        features: Features,
        settings: Sequence[Settings],
        *,
        recall_at: tuple[int, ...],
        device: str,
        way: Way | None = None,
    ) -> Ground:
        """Divide the rows and find out what cannot work before anything is trained.

        Raises:
            InputError: rows, protocol, validation, loss or device do not go together.
        """
        protocols = dict.fromkeys(each.protocol for each in settings)
        roles = {protocol: split(features.rows, protocol) for protocol in protocols}
        facts_of_rows = features.rows, features.manifest
        learning = {
            (protocol, labels): corrected(roles[protocol], labels, *facts_of_rows)
            for protocol, labels in dict.fromkeys((each.protocol, each.labels) for each in settings)
        }
        for each in settings:
            Chain.parse(each.recipe.transform).width(features.values.shape[1])
            if each.recipe.loss is not None:
                method_of(each)
            if each.validation is not None:
                own = learning[each.protocol, each.labels]
                hold_out(own, each.validation, folds=each.folds, fold=each.fold)
        target = pick_device(device)
        values = torch.from_numpy(features.values).to(target)
        facts = provenance.environment(target)
        way = way or usual_way(target)
        environment = {**facts, **facts.pop("versions"), "way": way}  # type: ignore[dict-item]
        return cls(features, values, roles, recall_at, environment, way)


def measure_untrained(ground: Ground, roles: Split) -> Figures:
    """Measure the frozen features as they are."""
    return {
        "protocol": roles.protocol,
        **_found(_retrieval(ground, roles, normalized)),
        **ground.environment,
    }


def measure_trained(
    ground: Ground,
    runs: Sequence[Settings],
    unfinished: Unfinished,
    progress: Progress,
) -> list[Figures | InputError]:
    """Train runs as one program and measure each.

    Args:
        ground: what they stand on.
        runs: settings with equal `Settings.shared`.
        unfinished: keeps and has the snapshot to go on from.
        progress: is told the finished and the total epochs.

    Returns:
        For each run its figures by the results' columns, or why it has none.
    """
    roles = ground.roles[runs[0].protocol]
    earlier = unfinished.load()
    begun = time.perf_counter()
    try:
        learned = learn(
            ground.values,
            ground.features,
            roles,
            runs,
            progress=progress,
            earlier=earlier,
            keep=unfinished.save,
            way=ground.way,
            pictures=ground.pictures if runs[0].views is not None else (),
        )
    except InputError as error:
        return [error] * len(runs)
    # What was trained before an interruption has not been timed.
    seconds = None if earlier else round((time.perf_counter() - begun) / len(runs), 3)
    return [
        run
        if isinstance(run, InputError)
        else {
            "protocol": roles.protocol,
            **_labels_and_selection(run),
            **_retrieved(ground, roles, run),
            "seconds": seconds,
            **ground.environment,
        }
        for run in learned
    ]


def _labels_and_selection(run: Learned) -> Figures:
    """Describe the labels and what the selection made of them."""
    weights, scores = run.state.weights.cpu().numpy(), run.state.scores.cpu().numpy()
    is_wrong, flagged = run.labels.is_wrong, weights < DOUBTFUL
    figures: Figures = {
        "nominal_noise_rate": run.labels.nominal,
        "realised_noise_rate": run.labels.injected,
        "estimated_noise_rate": float(run.state.noise_rate),
        "dropped": int(flagged.sum()),
        "train_rows": len(run.roles.train),
        "epochs": len(run.history.get("loss", ())),
    }
    if is_wrong is not None:
        found = detection(scores, flagged, is_wrong)
        figures |= {
            "detection_precision": found.precision,
            "detection_recall": found.recall,
            "detection_auc": found.auc,
            "kept_purity": float((~is_wrong[~flagged]).mean()) if not flagged.all() else math.nan,
        }
    return _without_nan(figures)


def _retrieved(ground: Ground, roles: Split, run: Learned) -> Figures:
    """Measure the last epoch's head and the selected epoch's on the test rows."""

    def of(head: dict[str, Tensor]) -> Retrieval:
        return _retrieval(ground, roles, lambda rows: heads.embed(head, run.transform(rows)))

    if not run.head:
        return _found(_retrieval(ground, roles, normalized))
    figures = _found(of(run.head))
    if run.selected is not None:
        shares = _without_nan(of(run.selected.head).shares())
        figures |= {SELECTED + name: share for name, share in shares.items()}
        figures["selected_epoch"] = run.selected.epoch
        figures["validation_map@r"] = run.selected.map_at_r
    return figures


def _retrieval(ground: Ground, roles: Split, space: Callable[[Tensor], Tensor]) -> Retrieval:
    queries, gallery = embedded(ground.values, roles, space)
    return search(queries, gallery, roles, ground.recall_at, ()).average()


def _found(retrieval: Retrieval) -> Figures:
    return {
        **_without_nan(retrieval.shares()),
        "queries": retrieval.num_queries,
        "queries_without_match": retrieval.lone_queries,
    }


def _without_nan(figures: Mapping[str, Any]) -> Figures:
    """Put None in the place of what is undefined: JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in figures.items()
    }
