"""Indices and search results as lines for people, and as plain values for `--json`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pipeline.output.present import percent
from pipeline.retrieval.answers import Answer
from pipeline.retrieval.index import Index
from pipeline.search import SearchReport, Threshold

_LOOKS = {
    "hnsw": "rows kept in view for a query",
    "ivf": "cells searched for a query",
    "ivf-pq": "cells searched for a query",
}
_WHERE = {
    "val": "images of the split val, searched for among the others",
    "held out": "training images that were held out for validation",
    "train": "training images, each without itself (new images lie farther away, so fewer of them "
    "reach it; images of a split val would tell)",
    "gallery": "images, each without itself",
}


def index_json(index: Index) -> dict[str, Any]:
    """Write the facts of an index as plain values."""
    return {"path": str(index.path), **index.facts}


def index_lines(index: Index) -> list[str]:
    """Say what was made, how good it is, and what to do with it."""
    facts = index.facts
    size = sum(file.stat().st_size for file in index.path.iterdir())
    settings = "".join(f", {name} {value:,}" for name, value in facts["parameters"].items())
    looks = f", {facts['effort']:,} {_LOOKS[facts['kind']]}" if facts["effort"] else ""
    recall = facts["recall@10"]
    lines = [
        f"{index.path}: {facts['rows']:,} images of {facts['space']}, {facts['kind']}{settings}"
        f"{looks}, {facts['embedding_dim']:,} numbers each, {size / 1e6:,.1f} MB",
    ]
    if recall is not None:
        lines.append(
            f"recall@10 {percent(recall)} % of exact search ({facts['sample']:,} images), about "
            f"{facts['queries_per_second']:,} queries/s"
        )
    if facts["labels"] is not None:
        lines.append(f"labels of {facts['labels']}, without the rows that it drops")
    return [*lines, f"next: dml search {shlex.quote(str(index.path))} IMAGE..."]


def search_json(report: SearchReport, html: Path | None, csv: Path | None) -> dict[str, Any]:
    """Write what was found as plain values."""
    return {
        "space": report.space,
        "store": report.store,
        "index": None if report.index is None else str(report.index),
        "kind": report.kind,
        "recall@10": report.recall,
        "rows": report.rows,
        "labels": report.labels,
        "threshold": _threshold_json(report.threshold),
        "queries": [_answer_json(answer) for answer in report.answers],
        "unreadable": report.unreadable,
        "html": None if html is None else str(html),
        "csv": None if csv is None else str(csv),
        "seconds": report.seconds,
    }


def search_lines(report: SearchReport, html: Path | None, csv: Path | None) -> list[str]:
    """Write for each query its vote and what was found, nearest first."""
    lines: list[str] = []
    for answer in report.answers:
        lines += [f"{plain(answer.query.name)}: {verdict(answer)}"]
        for rank, hit in enumerate(answer.hits, start=1):
            mark = " " if hit.is_match else "-"
            path = "" if hit.path == hit.id else f"  {plain(hit.path)}"
            text = f"{rank:>4}{mark} {hit.cosine:7.4f}  {plain(hit.label)}  {plain(hit.id)}{path}"
            lines.append(text)
    lines += [f"{plain(name)}: cannot be read: {why}" for name, why in report.unreadable.items()]
    return lines + [str(file) for file in (html, csv) if file is not None]


def search_note(report: SearchReport) -> str:
    """Say what was searched, how, and by which threshold."""
    if report.index is None:
        how = f"{report.space}: compared with all {report.rows:,} images"
    else:
        recall = "" if report.recall is None else f", recall@10 {percent(report.recall)} %"
        how = f"{report.index}: {report.rows:,} images of {report.space}, {report.kind}{recall}"
    if report.labels is not None:
        how += f"; labels of {report.labels}"
    if report.unreadable:
        how += f"; {len(report.unreadable):,} could not be read"
    if report.threshold is not None:
        count = sum(answer.label is None for answer in report.answers)
        how += f"; {count:,} of {len(report.answers):,} without a match; "
        how += threshold_text(report.threshold)
    return how


def threshold_text(threshold: Threshold) -> str:
    """Say what the threshold is and where it comes from."""
    text = f"threshold {threshold.cosine:.4f}"
    known = threshold.calibration
    if known is None or threshold.share is None:
        return text
    share = f"{100 * threshold.share:g} % of {known.num_images:,}"
    return f"{text}, reached by {share} {_WHERE[known.rows]}"


def verdict(answer: Answer) -> str:
    """Say which label the matches vote for."""
    if not answer.hits:
        return "nothing to compare with"
    if answer.label is None:
        return f"no match (the nearest has {answer.hits[0].cosine:.4f})"
    matches = sum(hit.is_match for hit in answer.hits)
    return f"{plain(answer.label)} ({round(answer.share * matches)} of {matches})"


def plain(text: str) -> str:
    """Replace what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _threshold_json(threshold: Threshold | None) -> dict[str, Any] | None:
    if threshold is None:
        return None
    known = threshold.calibration
    return {
        "cosine": threshold.cosine,
        "share": threshold.share,
        "learnt_from": None if known is None else known.rows,
        "images": None if known is None else known.num_images,
    }


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "query": answer.query.name,
        "is_match": answer.label is not None,
        "label": answer.label,
        "share": answer.share,
        "hits": [
            {
                "id": hit.id,
                "label": hit.label,
                "cosine": hit.cosine,
                "path": hit.path,
                "is_match": hit.is_match,
            }
            for hit in answer.hits
        ],
    }
