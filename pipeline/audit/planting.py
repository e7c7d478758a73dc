"""Mistakes made on purpose, so that it can be learned what mistakes look like.

Which labels really are wrong is not known. But some labels can be made wrong, and then the sources
tell how a mistake looks beside an untouched label. A mistake is made like those that seem to be
there already: an image of class c gets the label of an image that carries another label and looks
like c. So mistakes among alike classes are planted where such are found, and arbitrary ones
elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor


def plant(
    labels: Tensor,
    suggested: Tensor,
    suspicion: Tensor,
    num_classes: int,
    share: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Change a share of the labels.

    Each row is taken for wrong with the probability that it looks wrong; those are the models, and
    mistakes are planted among the others, for a wrong label could be set right by it.

    Args:
        labels: (N,) int64, as given.
        suggested: (N,) int64, the other class that each row looks like most.
        suspicion: (N,) in [0, 1] of a first look, high = wrong.
        num_classes: C, at least 2.
        share: of the labels, in (0, 1).
        generator: on the CPU.

    Returns:
        (N,) int64 labels; (N,) bool, which of them were changed.
    """
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    is_model = torch.rand(len(order), generator=generator).to(labels.device) < suspicion[order]
    models, rows = order[is_model], order[~is_model][: max(1, round(share * len(labels)))]
    order = models[suggested[models].argsort(stable=True)]  # by class, random within
    starts = torch.searchsorted(
        suggested[order], torch.arange(num_classes + 1, device=labels.device)
    )
    sizes = starts.diff()[labels[rows]]  # suspects that look like each row's class
    pick = (torch.rand(len(rows), generator=generator).to(labels.device) * sizes).long()
    at = (starts[labels[rows]] + pick).clamp_max(max(0, len(order) - 1))
    any_class = torch.randint(num_classes - 1, (len(rows),), generator=generator).to(labels.device)
    wrong = any_class + (any_class >= labels[rows])  # every other class, equally likely
    if len(order):
        wrong = torch.where(sizes > 0, labels[order[at]], wrong)
    is_planted = torch.zeros_like(labels, dtype=torch.bool)
    is_planted[rows] = wrong != labels[rows]
    changed = labels.clone()
    changed[rows] = wrong
    return changed, is_planted
