"""A small store with known content, made afresh for each test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from cache import FeatureStore, Fingerprint, StoreWriter, rows_digest


@dataclass
class Example:
    """What a store is made of; 10 rows in chunks of 4, 4 and 2 unless told otherwise."""

    path: Path
    num_rows: int = 10
    num_features: int = 6
    chunk_rows: int = 4
    dtype: str = "float16"
    columns: dict[str, list[str]] = field(default_factory=dict)  # beside or instead of the usual
    facts: dict[str, object] = field(default_factory=dict)  # of the fingerprint, the same

    @property
    def ids(self) -> list[str]:
        return self.columns.get("id") or [f"{row}.jpg" for row in range(self.num_rows)]

    @property
    def rows(self) -> pa.Table:
        labels = [f"class {row % 3}" for row in range(self.num_rows)]
        return pa.table({"id": self.ids, "path": self.ids, "label": labels} | self.columns)

    @property
    def values(self) -> NDArray[np.floating]:
        generator = np.random.default_rng(seed=0)
        return generator.standard_normal((self.num_rows, self.num_features)).astype(self.dtype)

    @property
    def fingerprint(self) -> Fingerprint:
        facts = {
            "backbone": "resnet50",
            "weights_sha256": "0123456789abcdef" * 4,
            "transform": {"resize": 256, "crop": (224, 224), "mean": [0.5, 0.5, 0.5]},
            "pool": "avg",
            "dtype": self.dtype,
            "num_features": self.num_features,
            "precision": "float32",
            "rows_digest": rows_digest(self.ids, range(self.num_rows)),
            "versions": {"torch": "2.6.0", "dml": "0.1.0"},
        }
        return Fingerprint(**(facts | self.facts))

    def writer(self, **options: Any) -> StoreWriter:
        return StoreWriter.create_or_resume(
            self.path,
            fingerprint=self.fingerprint,
            rows=self.rows,
            root="photos",
            chunk_rows=self.chunk_rows,
            **options,
        )

    def write(
        self,
        chunks: Iterable[int] | None = None,
        unreadable: Mapping[int, str] | None = None,
    ) -> FeatureStore:
        """Make the given chunks, or all that are pending, and open the store for reading."""
        values = self.values  # drawn once
        with self.writer() as writer:
            for number in list(writer.pending if chunks is None else chunks):
                rows = writer.chunk(number)
                bad = {row: why for row, why in (unreadable or {}).items() if row in rows}
                writer.write(number, values[rows.start : rows.stop], bad)
        return FeatureStore.open(self.path)

    def content(self) -> dict[str, bytes]:
        """Return each file of the store but the lock's."""
        files = (file for file in self.path.rglob("*") if file.is_file())
        return {
            str(file.relative_to(self.path)): file.read_bytes()
            for file in files
            if file.name != "writer.lock"
        }


@pytest.fixture(autouse=True)
def _nobody_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a power cut could tell the difference; commands' tests and killed writers do wait."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path / "features.zarr")
