"""Recipes: a loss or a closed form and a selection that belong together, under one name.

`--loss` takes a recipe, a loss or a closed form; `--select` replaces the selection. What has no
recipe of its own is used with the selection `none`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.choices import catalogue, library
from pipeline.choices.catalogue import Value


@dataclass(frozen=True)
class Recipe:
    """A pairing and the options in which it differs from their defaults.

    Attributes:
        summary: one line.
        loss: name of the loss; None trains nothing.
        selection: name of the selection.
        form: name of the closed form that computes the head where there is no loss.
        transform: what is done to features first, see `pipeline.transforms.chain`.
        options: `loss.KEY` or `select.KEY` -> value.
    """

    summary: str
    loss: str | None
    selection: str = "none"
    options: Mapping[str, Value] = field(default_factory=dict)
    form: str | None = None
    transform: str = "centre"


AUTO, AGREEMENT = "auto", "agreement"
ROOT = (
    "power:0.5,centre"  # for closed forms: covariances of roots are less ruled by few large values
)
RECIPES = {
    AUTO: Recipe("The closed form that validates best on these rows, or no training.", None),
    "none": Recipe("No training: the frozen features as they are.", None),
    AGREEMENT: Recipe(
        "Whitening by agreeing rows, directions counted by their reliability; ours.",
        None,
        AGREEMENT,
        {"loss.strength": 3.0, "loss.shrinkage": 0.2},
        form="reliability",
        transform=ROOT,
    ),
    "prism": Recipe(
        "Memory contrastive loss on the rows that PRISM keeps, over a full memory.",
        "memory-contrastive",
        "prism",
    ),
    "prism-parity": Recipe(
        "PRISM as published: queue memory, raw class means, smoothed batch threshold.",
        "memory-contrastive",
        "prism-queue",
        {"loss.divisor": "batch", "select.noise_rate": "auto"},
    ),
    "smooth-proxy-anchor": Recipe(
        "Smooth Proxy-Anchor loss on out-of-fold class confidences.",
        "smooth-proxy-anchor",
        "confidence",
    ),
    "soft-orthogonal": Recipe(
        "Proxy-Anchor loss with proxies pushed towards orthogonality (our reconstruction).",
        "proxy-anchor",
        options={"loss.orthogonality": 1.0, "loss.start": "orthogonal"},
    ),
    "multi-similarity-paper": Recipe(
        "Multi-Similarity loss with the paper's constants in place of its code's.",
        "multi-similarity",
        options={"loss.beta": 50.0, "loss.base": 1.0},
    ),
    "curriculum": Recipe(
        "Proxy-Anchor loss on densely lying rows first, on all rows in the end (CurriculumNet).",
        "proxy-anchor",
        "curriculum",
    ),
    "co-teaching": Recipe(
        "Linear classifier; two heads pick each other's rows by small loss (Co-teaching).",
        "softmax",
        "co-teaching",
    ),
    "co-teaching-plus": Recipe(
        "Co-teaching among the rows on which the two heads disagree (Co-teaching+).",
        "softmax",
        "co-teaching-plus",
    ),
    "co-teaching-t": Recipe(
        "Co-teaching with the normalised softmax, a classifier with a temperature.",
        "normalized-softmax",
        "co-teaching",
    ),
    "f-correction": Recipe(
        "Linear classifier whose cross-entropy knows how labels turn wrong (F-correction).",
        "forward-correction",
    ),
}

TRAINED = tuple(name for name, each in RECIPES.items() if each.loss is not None)

# What `dml list losses` shows beside the recipes: a family of names, none of which is listed.
FAMILIES = {
    "pml:NAME": Recipe(
        "Any loss of PyTorch Metric Learning by the name of its class; needs the extra pml.",
        "pml:NAME",
    )
}


def recipe(name: str) -> Recipe:
    """Finds a recipe, or makes one of a bare loss; raises InputError with close names otherwise."""
    if name in RECIPES:
        return RECIPES[name]
    if library.is_member(name):
        return Recipe("A loss of pytorch-metric-learning.", name)
    losses = catalogue.entries("losses")
    if name in losses:
        return Recipe(losses[name].summary, name)
    forms = catalogue.entries("closed_forms")
    if name in forms:
        return Recipe(forms[name].summary, None, form=name, transform=ROOT)
    raise catalogue.unknown("loss", name, [*RECIPES, *losses, *forms])
