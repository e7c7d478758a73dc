"""An index on disk: embeddings made ready for search, and what they are of.

    index.json     facts: run, store, kind, parameters, recall
    index.faiss    the embeddings; FAISS reads them, as inner products of unit vectors
    items.parquet  row i of the index: id, label, path and, where there is one, split

The folder is written beside its place and renamed when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import DiskFullError, InputError
from cache.fingerprint import sha256_of_file
from cache.places.durable import sync_tree
from cache.places.urls import was_url
from pipeline.retrieval.exact import Embeddings, Nearest
from pipeline.retrieval.kinds import nearest
from pipeline.retrieval.space import Space
from pipeline.retrieval.threshold import Calibration
from pipeline.runs import workspace

FORMAT = 1
METRIC = "cosine on unit vectors"
INDICES = workspace.FOLDER / "indices"
_FACTS, _VECTORS, _ITEMS = "index.json", "index.faiss", "items.parquet"


@dataclass(frozen=True)
class Index:
    """An index that is ready to be searched.

    Attributes:
        path: its folder.
        facts: as in `index.json`.
        items: table of its N rows: id, label, path and, where there is one, split.
        vectors: FAISS's index.
    """

    path: Path
    facts: Mapping[str, Any]
    items: pa.Table
    vectors: Any

    @classmethod
    def open(cls, path: Path) -> Index:
        """Read an index.

        Raises:
            InputError: there is none, it is damaged, or of another format.
        """
        facts = facts_of(path)
        try:
            # FAISS believes what it reads, so a damaged file could end this process.
            if sha256_of_file(path / _VECTORS) != facts["sha256"]:
                raise ValueError(f"{_VECTORS} is not what was written")
            with pq.ParquetFile(path / _ITEMS) as file:
                items = file.read()
            vectors = faiss.read_index(str(path / _VECTORS))
            if not items.num_rows == vectors.ntotal == facts["rows"]:
                raise ValueError("its files are of different indices")
        except (OSError, ValueError, KeyError, RuntimeError, pa.ArrowException) as error:
            raise InputError(
                f"{path} is damaged ({_short(error)}): build it again with `dml index --force`"
            ) from error
        return cls(path, facts, items, vectors)

    @property
    def calibration(self) -> Calibration | None:
        """How near known images are, see `pipeline.retrieval.threshold`."""
        return Calibration.from_json(self.facts["calibration"])

    def require(self, space: Space) -> None:
        """Refuse a space that is not the one that was indexed.

        Raises:
            InputError: the run or the store is another one.
        """
        found, asked = self.facts["store"]["fingerprint"], space.store.fingerprint.digest()
        if found != asked:
            raise InputError(
                f"{self.path} is of a store with fingerprint {found[:12]}, {space.store.path} has "
                f"{asked[:12]}: build it again with `dml index`"
            )
        if (found := self.facts["embeddings"]) != space.digest:
            raise InputError(
                f"{self.path} holds embeddings of {self.facts['space']} ({found[:12]}), not those "
                f"of {space.name} ({space.digest[:12]}): name the right run, or build it again "
                "with `dml index`"
            )
        if (found := self.facts["features"]) != space.store.features:
            raise InputError(
                f"{self.path} is of the features {found}, not of {space.store.features}: build it "
                "again with `dml index`"
            )

    def search(self, queries: Embeddings, k: int) -> Nearest:
        """Find the K nearest rows of queries (T, D), see `pipeline.retrieval.kinds.nearest`."""
        kind, effort = self.facts["kind"], self.facts["effort"]
        return nearest(self.vectors, kind, queries, k, effort=effort)


def is_index(path: Path) -> bool:
    """Tell whether a folder holds an index."""
    return (path / _FACTS).is_file()


def facts_of(path: Path) -> dict[str, Any]:
    """Read the facts of an index.

    Raises:
        InputError: there is none, they are damaged, or of another format.
    """
    if not is_index(path):
        raise InputError(f"no index at {path}: build one with `dml index --out {path}`")
    try:
        facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        version = facts["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path / _FACTS} is damaged: build the index again with `dml index --force`"
        ) from error
    if version != FORMAT:
        raise InputError(
            f"{path} has format {version}, this version of dml reads format {FORMAT}: build it "
            "again with `dml index --force`"
        )
    return dict(facts)


def refuse_unusable(path: Path, *, is_forced: bool) -> None:
    """Raise InputError where an index would overwrite something or cannot be written."""
    if was_url(path):
        raise InputError(f"an index is kept on this machine, {path} is a URL: choose another --out")
    if os.path.lexists(path) and not (is_forced and is_index(path)):
        advice = ", or replace the index with --force" if is_index(path) else ""
        raise InputError(f"{path} exists: choose another --out{advice}")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"cannot write into {above}: choose another --out")


def save_index(
    path: Path, facts: Mapping[str, Any], items: pa.Table, vectors: Any, *, is_forced: bool
) -> Index:
    """Write an index; it appears at its path only when it is whole.

    Raises:
        InputError: the path is taken, or cannot be written to.
        DiskFullError: there is no room; nothing is left behind.
    """
    refuse_unusable(path, is_forced=is_forced)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.mkdir(parents=True)
        faiss.write_index(vectors, str(part / _VECTORS))
        pq.write_table(items, part / _ITEMS, compression="zstd")
        facts = {**facts, "sha256": sha256_of_file(part / _VECTORS)}
        text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
        (part / _FACTS).write_text(text, encoding="utf-8")
        sync_tree(part)
        _move(part, path)
    except (OSError, RuntimeError) as error:  # FAISS's are RuntimeErrors
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Index(path, facts, items, vectors)


def _move(part: Path, path: Path) -> None:
    """Put a whole folder into its place, instead of an older one."""
    old = part.with_suffix(".old")
    if path.exists():
        path.rename(old)
    part.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _not_written(path: Path, error: Exception) -> InputError | DiskFullError:
    if "No space left" in str(error) or "quota" in str(error) or "File too large" in str(error):
        return DiskFullError(f"cannot write the index {path}: no room; make some and run it again")
    return InputError(f"cannot write the index {path}: {_short(error)}; choose another --out")


def _short(error: Exception) -> str:
    """Write what is wrong in a few words, without FAISS's line numbers."""
    text = getattr(error, "strerror", None) or str(error).rpartition("failed: ")[2]
    return " ".join(text.split())[:120]
