"""What `dml info --duplicates` and `dml info --verify` print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cache.errors import StoreCorruptError
from pipeline.duplicates import KINDS, DuplicateGroup, DuplicateReport, Kind

if TYPE_CHECKING:
    from pipeline.measures.approximate import Recall
    from pipeline.measures.closeness import Closeness
    from pipeline.verify import VerifyReport

_TITLES: dict[Kind, str] = {
    "leak": "in different splits (leaks)",
    "labels": "with different labels (one is wrong if they show the same)",
    "rest": "in one split, with one label",
}
_LISTED = {"leak": 10, "labels": 10, "rest": 5}


def duplicates_json(report: DuplicateReport, file: Path | None) -> dict[str, Any]:
    """Write all groups as plain values; cosines are -1 to 1."""
    groups = [
        {**asdict(group), "members": [member._asdict() for member in group.members]}
        for group in report.groups
    ]
    return {
        "store": report.store,
        "rows": report.rows,
        "counts": {kind: len(report.of(kind)) for kind in KINDS},
        "threshold": report.threshold,
        "distance": report.distance,
        "has_images": report.has_images,
        "has_splits": report.has_splits,
        "flat": report.flat,
        "recall": report.recall and report.recall._asdict(),
        "seconds": report.seconds,
        "file": file and str(file),
        "groups": groups,
    }


def duplicates_lines(report: DuplicateReport, file: Path | None) -> list[Any]:
    """Count the groups by what is wrong with them, and list the first of each kind."""
    pictures = sum(len(group.members) for group in report.groups)
    lines: list[Any] = [
        f"{report.store}: {report.rows:,} pictures compared, {len(report.groups):,} groups of "
        f"duplicates with {pictures:,} pictures ({report.seconds:.1f} s)"
    ]
    if report.groups:
        lines += [_counts(report), ""]
    for kind in KINDS:
        lines += _listed(kind, report.of(kind))
    lines += _remarks(report)
    if file is not None:
        lines.append(f"all of them: {file}")
    elif any(len(report.of(kind)) > _LISTED[kind] for kind in KINDS):
        lines.append("all of them: dml info --duplicates --out duplicates.csv")
    return lines


def _counts(report: DuplicateReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("duplicates", no_wrap=True)
    for name in ("groups", "pictures"):
        table.add_column(name, justify="right")
    for kind in KINDS:
        groups = report.of(kind)
        pictures = sum(len(group.members) for group in groups)
        table.add_row(_TITLES[kind], f"{len(groups):,}", f"{pictures:,}")
    return table


def _listed(kind: Kind, groups: list[DuplicateGroup]) -> list[str]:
    """Name the first groups of one kind, each by its closest two pictures."""
    if not groups:
        return []
    lines = [f"{_TITLES[kind]}:", *map(_line, groups[: _LISTED[kind]])]
    if len(groups) > _LISTED[kind]:
        lines.append(f"  ... and {len(groups) - _LISTED[kind]:,} more")
    return [*lines, ""]


def _line(group: DuplicateGroup) -> str:
    by_id = {member.id: member for member in group.members}
    left, right = (by_id[name] for name in group.across)
    marks = {"leak": (left.split, right.split), "labels": (left.label, right.label)}
    names = [left.id, right.id]
    if group.kind in marks:
        names = [f"{name} ({mark})" for name, mark in zip(names, marks[group.kind], strict=True)]
    facts = [_link(group), f"cosine {group.cosine:.3f}"]
    if len(group.members) > 2:
        facts.append(f"{len(group.members):,} pictures, smallest cosine {group.smallest:.3f}")
    if group.is_chain:
        facts.append("a chain: not all are near each other")
    if group.kind == "leak" and len(group.labels) > 1:
        facts.append("labels differ, too")
    return f"  {' = '.join(names)}: {'; '.join(facts)}"


def _link(group: DuplicateGroup) -> str:
    """Name what links the two pictures; what follows from equal bytes or features is left out."""
    surest = [name for name in group.link if name in ("same file", "equal features")]
    return ", ".join(surest[:1] or group.link) or "linked through others"


def _remarks(report: DuplicateReport) -> list[str]:
    """Say what was compared, and what could not be."""
    lines = [
        f"alike features: cosine from {report.threshold:g} on (--threshold; the default was chosen "
        "by eye on photos of shops and efficientnet_lite0: look at some before you delete any)"
    ]
    if report.has_images:
        flat = f"; {report.flat:,} flat pictures left out" if report.flat else ""
        lines.append(
            f"alike pictures: at most {report.distance} of 64 bits of the difference hash differ, "
            f"and the features are not strangers{flat}"
        )
    else:
        lines.append("this store has no hashes of the image files: features alone were compared")
    if not report.has_splits:
        lines.append("this store has no splits: leaks between them cannot be told")
    if report.recall is not None:
        lines.append(_recall(report.recall))
    return lines


def _recall(recall: Recall) -> str:
    found = f"{recall.found:,} of {recall.pairs:,} neighbours at the threshold"
    return (
        f"features were searched by FAISS, not exactly: for {recall.rows:,} rows that were "
        f"searched exactly, too, it found {found}, and {100 * recall.nearest:.1f} % of the nearest"
    )


def verify_json(report: VerifyReport) -> dict[str, Any]:
    """Write what was checked as plain values."""
    return {
        "store": report.store,
        "sound": not report.faults,
        "checks": [check._asdict() for check in report.checks],
        "differing": {
            name: {"store": ours, "now": theirs}
            for name, (ours, theirs) in report.differing.items()
        },
        "canaries": list(report.canaries),
        "closeness": {
            name: {**each._asdict(), "is_far": each.is_far.tolist()}
            for name, each in report.closeness.items()
        },
        "seconds": report.seconds,
    }


def verify_lines(report: VerifyReport) -> list[Any]:
    """Lay out what was checked, and how far the canaries are from what is stored."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for title in ("checked", "result"):
        table.add_column(title, no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in report.checks:
        table.add_row(check.name, check.status, check.found)
    lines: list[Any] = [f"{report.store} ({report.seconds:.1f} s)", table]
    if report.closeness:
        lines += ["", _closeness(report.closeness), _allowed(report.closeness)]
    return lines


def refuse_faults(report: VerifyReport) -> None:
    """Say in one line what is wrong and what to do next.

    Raises:
        StoreCorruptError: something is wrong.
    """
    if not report.faults:
        return
    first = report.faults[0]
    rest = len(report.faults) - 1
    more = f" ({rest} more above)" if rest else ""
    raise StoreCorruptError(f"{report.store}: {first.name}: {first.found}: {first.advice}{more}")


def _closeness(closeness: dict[str, Closeness]) -> Table:
    titles = ("equal bit for bit", "largest difference", "smallest cosine")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("features", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right")
    for name, each in closeness.items():
        equal = f"{each.equal:,} of {each.rows:,}"
        table.add_row(name, equal, f"{each.difference:.3g}", f"{each.cosine:.6f}")
    return table


def _allowed(closeness: dict[str, Closeness]) -> str:
    allowed = max(each.allowed for each in closeness.values())
    return (
        "bit for bit is expected on the machine and with the versions that made the store; "
        f"elsewhere a difference of {100 * allowed:.2g} % of a row's length passes as rounding"
    )
