"""dml index: the embeddings of a run made ready for search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands._options import DeviceOption, JsonOption, TrainedStoreOption
from pipeline.output.terminal import show, stage

Kind = Literal["flat", "hnsw", "ivf", "ivf-pq"]
SplitOption = Annotated[
    str | None,
    typer.Option(
        help="Search only images of these splits, separated by commas. Default: all readable ones."
    ),
]
UntrainedOption = Annotated[
    bool, typer.Option("--untrained", help="Take the untrained features instead of a run.")
]


def parse_splits(text: str | None) -> tuple[str, ...] | None:
    """Read `--split`."""
    if text is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def index(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the latest.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the new index. Default: dml-out/indices/RUN."),
    ] = None,
    split: SplitOption = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="flat (exact), hnsw (a graph), ivf (cells) or ivf-pq (cells of codes that take a "
            "sixteenth of the memory). Default: by size, flat up to 100,000 rows, hnsw up to "
            "300,000, then ivf."
        ),
    ] = None,
    untrained: UntrainedOption = False,
    store: TrainedStoreOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an index at this place.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make the images of a run ready for search by FAISS.

    All readable images are embedded once and entered block by block. Recall@10 is the share of the
    ten nearest images, by exact search, that the index returns, over 1,000 of its images that do
    not find themselves. An index looks as hard as it takes for 0.95. The queries per second are a
    rough figure of many searched at once.

    A run that was trained with corrected labels shows these; dropped images are left out. The
    folder remembers which run and store it is of; another one is refused.

    Examples:

    [bold]dml index[/]

    [bold]dml index dml-out/runs/prism --split train --kind hnsw[/]

    [bold]dml index --untrained --store photos.zarr --out photos.index[/]
    """
    from pipeline.output.search_lines import index_json, index_lines
    from pipeline.retrieval.building import build_index
    from pipeline.retrieval.gallery import gallery_of
    from pipeline.retrieval.index import INDICES, refuse_unusable
    from pipeline.retrieval.opening import open_space
    from pipeline.runs.record import free_path

    if out is not None:
        refuse_unusable(out, is_forced=force)  # before the wait for the store
    space = open_space(run, store, is_untrained=untrained, device=device)
    path = out or free_path(INDICES, space.name)
    gallery = gallery_of(space, parse_splits(split))
    with stage(f"indexing {len(gallery.rows):,} images of {space.name}") as progress:
        built = build_index(gallery, path, kind=kind, is_forced=force, progress=progress)
    show(as_json, index_json(built), index_lines(built))
