"""What a loss has to say about all training rows: figures for the record."""

from __future__ import annotations

from functools import partial

import torch

from pipeline.program import heads
from pipeline.program.batch import Batch
from pipeline.program.learner import Learner
from pipeline.program.rows import Rows, mapped

_TILE = 4096


@torch.no_grad()
def facts_of(features: Rows, learner: Learner) -> dict[str, float]:
    """Average the loss's facts over the rows of a run, tile by tile.

    Args:
        features: (N, F).
        learner: the run.
    """
    head, learned = learner.first_head()
    labels, method = learner.task.labels, learner.task.method
    total: dict[str, float] = {}
    if not hasattr(method.loss_module, "facts"):
        return total
    embedded = mapped(partial(heads.embed, head), features)  # (N, D)
    tiles = -(-len(labels) // _TILE)
    for tile in range(tiles):
        # Every so many rows, so that a tile of a sorted store is a fair sample of it.
        rows = torch.arange(tile, len(labels), tiles, device=labels.device)
        embeddings = embedded[rows]
        batch = Batch(embeddings, labels[rows], rows, torch.ones_like(embeddings[:, 0]))
        if method.num_heads == 1:
            confidences = method.select(learner.state, batch)[0].confidences
            batch = batch._replace(confidences=confidences)
        facts = method.facts(learned, batch._replace(survey=learner.survey or None))
        for name, value in facts.items():
            total[name] = total.get(name, 0.0) + float(value) * len(rows) / len(labels)
    return total
