"""Where features came from: the fingerprint that an export carries, and that of other files.

An export of ours holds the fingerprint of its store and a sha256 over features and ids. Only a file
whose content still has that sha256 is taken for what the fingerprint says; else, and for files of
other programs, the fingerprint tells the file: backbone `imported:FILE`, as weights the sha256 of
the features, as transform the name of their array, pool `none`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from cache.errors import InputError
from cache.fingerprint import Fingerprint, rows_digest
from cache.formats import Block, Form, Source

_FORMAT = 1
# The number formats of features in files, and how they are stored unless somebody says otherwise.
STORED_AS = {
    "float16": "float16",
    "float32": "float32",
    "float64": "float32",
    "bfloat16": "bfloat16",
    "int8": "float32",
    "uint8": "float32",
}


class Claim(NamedTuple):
    """What an export of ours says of itself.

    Attributes:
        fingerprint: of the features.
        root: folder or URL that the paths are relative to.
        sha256: `Digest.with_ids` of the content.
    """

    fingerprint: Fingerprint
    root: str
    sha256: str

    def to_json(self) -> str:
        """Write the text that stands in the file."""
        facts = {"format": _FORMAT, "fingerprint": self.fingerprint.to_json()}
        return json.dumps({**facts, "root": self.root, "sha256": self.sha256})

    @classmethod
    def read(cls, source: Source, table: Source | None) -> Claim | None:
        """Read what a file says, or the table beside it; None where it says nothing we know."""
        text = source.facts or (table and table.facts)
        try:
            facts: Any = json.loads(text or "null")
            if int(facts["format"]) > _FORMAT:
                return None
            fingerprint = Fingerprint.from_json(facts["fingerprint"])
            return cls(fingerprint, str(facts["root"]), str(facts["sha256"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


class Digest:
    """A sha256 over features, whatever file they come from."""

    def __init__(self, form: Form) -> None:
        """Begin with the form (N, F) of the features."""
        self._digest = hashlib.sha256(str(form).encode())

    def add(self, block: Block) -> None:
        """Take the next rows (n, F)."""
        values = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
        self._digest.update(values.view(np.uint8).data)

    def hexdigest(self) -> str:
        """Return the digest of the features alone."""
        return self._digest.hexdigest()

    def with_ids(self, ids: Sequence[str]) -> str:
        """Return the digest of the features and their ids, in order."""
        digest = self._digest.copy()
        for each in ids:
            digest.update(json.dumps(each).encode() + b"\n")
        return digest.hexdigest()


@dataclass(frozen=True)
class Look:
    """What was seen when all features were read once.

    Attributes:
        digest: of them.
        not_finite: row -> why it cannot be stored.
    """

    digest: Digest
    not_finite: dict[int, str]


def look(
    source: Source,
    name: str,
    ids: Sequence[str],
    *,
    dtype: str,
    skip: bool,
    progress: Callable[[int], None],
) -> Look:
    """Read all features once, before anything is written.

    Args:
        source: the file.
        name: of the features.
        ids: N row ids, for messages.
        dtype: that they will be stored in.
        skip: whether rows with NaN or infinity are listed and not refused.
        progress: is called with the rows done.

    Raises:
        InputError: the file is damaged, or a row is not finite or does not fit into the dtype.
    """
    digest, found, row = Digest(source.arrays[name]), dict[int, str](), 0
    for block in source.blocks(name):
        digest.add(block)
        is_finite = np.isfinite(block).all(axis=1)
        for at in np.flatnonzero(~is_finite).tolist():
            if not skip:
                raise InputError(
                    f"the features of {ids[row + at]!r}, row {row + at + 1} of {source.path}, are "
                    "not finite numbers: mend them, or leave such rows out with --skip-nonfinite"
                )
            found[row + at] = "features are not finite numbers"
        _refuse_large(block[is_finite], source, dtype)
        row += len(block)
        progress(row)
    if len(found) == row:
        raise InputError(f"no row of {source.path} has finite features: there is nothing to store")
    return Look(digest, found)


def imported(
    source: Source, name: str, ids: Sequence[str], look: Look, *, dtype: str
) -> Fingerprint:
    """Return the fingerprint of features of another program."""
    form = source.arrays[name]
    return Fingerprint(
        backbone=f"imported:{source.path.name}",
        weights_sha256=look.digest.hexdigest(),
        transform={"array": name},
        pool="none",
        dtype=dtype,
        num_features=form.shape[1],
        precision=form.dtype,
        rows_digest=rows_digest(ids, [0] * len(ids)),
        versions={},
    )


def of_export(fingerprint: Fingerprint, feature: str) -> Fingerprint:
    """Return the fingerprint of one of a store's feature vectors, as an export gives it.

    int8 becomes float32: those are the values that are read, and rounding them again would not
    always give the same ones. So do means of bfloat16.
    """
    is_mean = feature in fingerprint.averaged_names
    is_rounded = fingerprint.dtype == "int8" or (is_mean and fingerprint.dtype == "bfloat16")
    alone = replace(fingerprint, dtype="float32" if is_rounded else fingerprint.dtype)
    if fingerprint.feature_names == (feature,):
        return alone
    augmentation = dict(fingerprint.augmentation) if "@" in feature else {}
    if is_mean:
        augmentation["averaged"] = fingerprint.views
    return replace(alone, pool=feature, views=0, augmentation=augmentation)


def _refuse_large(block: Block, source: Source, dtype: str) -> None:
    target = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(dtype, np.float32)
    with np.errstate(all="ignore"):
        fits = np.isfinite(block.astype(target, copy=False)).all()
    if not fits:
        raise InputError(
            f"a feature in {source.path} is {np.abs(block).max():.3g}, too large for {dtype}: "
            + ("scale the features" if dtype == "float32" else "give --dtype float32")
        )
