"""Duplicates as a table: one line for each picture that has one."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.saving import check_place, save_table
from pipeline.duplicates import DuplicateReport


def save_duplicates(report: DuplicateReport, file: Path, *, is_forced: bool) -> None:
    """Write one line for each picture that has a duplicate, in one step.

    Args:
        report: the groups.
        file: a name that ends in .csv or .parquet.
        is_forced: whether a file of this name is replaced.

    Raises:
        InputError: the file's name does not fit, it exists, or it cannot be written.
    """
    check_place(file, is_forced=is_forced)
    table = _table(report)
    save_table(file, _csv(table) if file.suffix.lower() == ".csv" else _parquet(table))


def _table(report: DuplicateReport) -> pa.Table:
    """Lay out a line for each picture of each group."""
    lines = [
        {
            "group": number,
            "kind": group.kind,
            "id": member.id,
            "path": member.path,
            "label": member.label,
            "split": member.split,
            "evidence": "; ".join(member.evidence),
            "closest_id": member.closest,
            "closest_cosine": member.cosine,
            "smallest_cosine": group.smallest,
            "chain": group.is_chain,
        }
        for number, group in enumerate(report.groups, start=1)
        for member in group.members
    ]
    texts = ("kind", "id", "path", "label", "split", "evidence", "closest_id")
    types = {name: pa.string() for name in texts}
    types |= {"group": pa.int64(), "chain": pa.bool_()}
    types |= {"closest_cosine": pa.float32(), "smallest_cosine": pa.float32()}
    order = [*(lines[0] if lines else types)]
    return pa.Table.from_pylist(lines, pa.schema([(name, types[name]) for name in order]))


def _csv(table: pa.Table) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.column_names)
    for line in table.to_pylist():
        writer.writerow(
            f"{each:.4f}" if isinstance(each, float) else each for each in line.values()
        )
    return stream.getvalue().encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
