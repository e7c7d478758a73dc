"""What a loss has to say about all training rows: figures for the record."""

from __future__ import annotations

import torch

from pipeline.program import heads, trees
from pipeline.program.batch import Batch
from pipeline.program.loop import Program

_TILE = 4096


@torch.no_grad()
def facts_of(program: Program) -> list[dict[str, float]]:
    """Average the loss's facts over the rows of each run, tile by tile."""
    return [_facts_of_run(program, run) for run in range(len(program.labels))]


def _facts_of_run(program: Program, run: int) -> dict[str, float]:
    head, learned, survey = (
        trees.take(tensors, run)
        for tensors in (
            program.first_of(program.head),
            program.first_of(program.learned),
            program.surveys,
        )
    )
    state, labels, method = program.states[run], program.labels[run], program.method
    total: dict[str, float] = {}
    tiles = -(-len(labels) // _TILE)
    for tile in range(tiles):
        # Every so many rows, so that a tile of a sorted store is a fair sample of it.
        rows = torch.arange(tile, len(labels), tiles, device=labels.device)
        embeddings = heads.embed(head, program.features[rows])
        batch = Batch(embeddings, labels[rows], rows, torch.ones_like(embeddings[:, 0]))
        if method.num_heads == 1:
            confidences = method.select(state, batch)[0].confidences
            batch = batch._replace(confidences=confidences)
        facts = method.facts(learned, batch._replace(survey=survey or None))
        for name, value in facts.items():
            total[name] = total.get(name, 0.0) + float(value) * len(rows) / len(labels)
    return total
