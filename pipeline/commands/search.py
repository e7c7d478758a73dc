"""dml search: images that look like others."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache.errors import InputError
from cache.places.urls import is_url
from pipeline.commands._options import DeviceOption, JsonOption, TrainedStoreOption
from pipeline.commands.index import SplitOption, UntrainedOption, parse_splits
from pipeline.output.terminal import note, show, stage

if TYPE_CHECKING:
    from pipeline.retrieval.index import Index
    from pipeline.retrieval.space import Space

_KNOWN_SHARE = 0.95
_STDIN = "-"


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|INDEX] [IMAGE]...",
            help="A run or an index, default the latest run; then image files, folders, URLs, "
            "pictures in archives (photos.zip::1.jpg), or - for a list of them on standard input.",
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="Search for an image of the store; may be given several times."),
    ] = None,
    top: Annotated[int, typer.Option(help="Images to find for each query.")] = 10,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Say 'no match' below this cosine. auto: learn it from images whose class is "
            "known, see above."
        ),
    ] = None,
    known_share: Annotated[
        float | None,
        typer.Option(
            help="With --threshold auto: share of known images that passes. Default: 0.95."
        ),
    ] = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Let no image find its own file.")
    ] = False,
    index: Annotated[
        Path | None,
        typer.Option(help="Search this index of the run. Default: compare with all images."),
    ] = None,
    split: SplitOption = None,
    untrained: UntrainedOption = False,
    store: TrainedStoreOption = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights file of the backbone. Default: the published."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with the pictures, in one file.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a table with a line for each hit.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite these files.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the images that look most like others.

    Each image goes through the backbone of the store and the head of the run, exactly as the
    store's own images went. Without an index it is compared with all of them. Equal cosines rank
    by row. The label is the one that most of the images found have, of equally many the nearest
    one's. A run that was trained with corrected labels shows these, and finds no dropped image.

    --threshold auto searches for images of known classes as if they were new: those of the split
    val, which trained nothing, among all others; without them those held out for validation;
    without those the training images, each without itself (they lie nearer than new images do, so
    it refuses more than it says). The threshold is the cosine that the stated share of them
    reaches with their nearest.

    Images that cannot be read are listed, the others are searched for.

    Examples:

    [bold]dml search photo.jpg[/]

    [bold]dml search dml-out/runs/prism new-photos/ --top 5 --html found.html[/]

    [bold]dml search dml-out/indices/prism photo.jpg --threshold auto[/]

    [bold]dml search --id train/apple/1.jpg --exclude-self[/]
    """
    limit = _checked(top, threshold, known_share)
    run, chosen, names = _sorted(words or [], index)
    if chosen is not None and (split is not None or untrained):
        option = "--split" if split is not None else "--untrained"
        raise InputError(f"an index has its own images and features: give {option} to `dml index`")
    if not names and not ids:
        raise InputError("nothing to search for: name image files, or images of the store by --id")
    from pipeline.output.search_files import check_files, save_csv, save_page
    from pipeline.output.search_lines import search_json, search_lines, search_note
    from pipeline.retrieval.queries import listed
    from pipeline.search import search as find

    check_files(html, csv, is_forced=force)
    names = listed(_with_stdin(names))
    opened, space = _opened(chosen, run, store, untrained, device)
    with stage(f"searching for {len(names) + len(ids or []):,} images") as progress:
        report = find(
            space,
            names,
            ids=ids or (),
            index=opened,
            splits=parse_splits(split),
            top=top,
            threshold=limit,
            known_share=(known_share or _KNOWN_SHARE) if threshold == "auto" else None,
            exclude_self=exclude_self,
            weights=weights,
            progress=progress,
        )
    if csv is not None:
        save_csv(report, csv)
    if html is not None:
        save_page(report, html)
    show(as_json, search_json(report, html, csv), search_lines(report, html, csv))
    note(search_note(report))


def _checked(top: int, threshold: str | None, known_share: float | None) -> float | None:
    """Return the cosine of the threshold, if one was given."""
    if top < 1:
        raise InputError(f"--top {top}: expected a whole number of at least 1")
    if known_share is not None and threshold != "auto":
        raise InputError("--known-share goes with --threshold auto: add it, or leave it out")
    if known_share is not None and not 0 < known_share <= 1:
        raise InputError(f"--known-share {known_share}: expected a share above 0, at most 1")
    if threshold is None or threshold == "auto":
        return None
    try:
        cosine = float(threshold)
    except ValueError:
        cosine = float("nan")
    if not -1 <= cosine <= 1:
        raise InputError(
            f"--threshold {threshold}: expected a cosine from -1 to 1, for example 0.7, or auto"
        )
    return cosine


def _sorted(words: list[str], index: Path | None) -> tuple[Path | None, Path | None, list[str]]:
    """Tell what the words are: a run, an index, and the names of images."""
    from pipeline.datasets.folder import SUFFIXES
    from pipeline.retrieval.index import is_index
    from pipeline.runs.record import is_run

    if not words:
        return None, index, []
    first = Path(words[0])
    if is_run(first):
        return first, index, words[1:]
    if is_index(first):
        if index is not None:
            raise InputError(f"{first} and --index {index} are two indices: give one of them")
        return None, first, words[1:]
    is_image = words[0] == _STDIN or is_url(words[0]) or "::" in words[0]
    is_image |= os.path.lexists(first) or first.suffix.lower() in SUFFIXES
    if not is_image:
        raise InputError(f"there is no run, index or image at {first}: check the name")
    return None, index, words


def _with_stdin(names: list[str]) -> list[str]:
    """Put the lines of standard input into the place of `-`."""
    if _STDIN not in names:
        return names
    lines = [line for line in sys.stdin.read().splitlines() if line.strip()]
    at = names.index(_STDIN)
    return [*names[:at], *lines, *(name for name in names[at:] if name != _STDIN)]


def _opened(
    index: Path | None, run: Path | None, store: str | None, untrained: bool, device: str
) -> tuple[Index | None, Space]:
    from pipeline.retrieval.index import Index
    from pipeline.retrieval.opening import open_space, open_space_of

    if index is None:
        return None, open_space(run, store, is_untrained=untrained, device=device)
    opened = Index.open(index)
    return opened, open_space_of(opened, run, store, device=device)
