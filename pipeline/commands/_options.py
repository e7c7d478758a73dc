"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Device = Literal["auto", "cpu", "cuda", "mps"]
Protocol = Literal["query-gallery", "class-disjoint"]
Validation = Literal["classes", "rows", "split"]
Head = Literal["linear", "residual", "mlp"]
Views = Literal["random"]
DeviceOption = Annotated[Device, typer.Option(help="auto takes cuda, else mps, else cpu.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
ProtocolOption = Annotated[
    Protocol | None,
    typer.Option(
        help="query-gallery (test rows search the training rows) or class-disjoint (half of the "
        "classes trains, the others search among themselves). Default: what the splits suggest."
    ),
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which features of the store, as dml info lists them: max, avg@1 (a view), avg@mean "
        "(the mean over a picture and its views). Default: the first.",
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Train on corrected labels, as dml labels apply makes them; queries and gallery keep "
        "those of the store. Default: the labels of the store.",
    ),
]
TransformOption = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS",
        help="What is done to features before the head, fitted on the training rows: "
        "power:0.5,centre (signed square root), centre,whiten:0.2 (share of shrinkage, or "
        "ledoit-wolf), standardise,pca:256; steps in the order power, centre or standardise, "
        "whiten, pca. Default: the recipe's, mostly centre.",
    ),
]
# Texts, because a `Path` would make one slash of the two in `s3://bucket`.
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The feature store, also at a URL. Default: the latest."),
]
TrainedStoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The feature store, also at a URL. Default: the one it was trained on.",
    ),
]
