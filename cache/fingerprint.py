"""The facts that made a set of features, and how two such sets of facts are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from cache.errors import InputError

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

FEATURE_DTYPES = ("float16", "float32", "bfloat16", "int8")
MEAN = "@mean"  # what the name of a mean over a picture and its views ends with
# Fields that came later: where they have these values they are not written, so that what was made
# before keeps its digest.
_LATER: Mapping[str, JSON] = {"views": 0, "augmentation": {}, "code": 1}


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Everything that decides the values of the features.

    The fields stand in the order in which `differences` reports them: the most telling first.

    Attributes:
        backbone: name of the network, as given to `--backbone`.
        weights_sha256: hex sha256 of the content of the weights.
        transform: how a picture becomes the network's input; JSON values only.
        pool: how the last feature map becomes one vector; several ways with commas between them.
        dtype: number format of the stored features, one of `FEATURE_DTYPES`.
        num_features: length F of one feature vector, whatever the pool.
        precision: number format of the network's arithmetic, "float32" or "bfloat16".
        rows_digest: `rows_digest` of all manifest rows.
        versions: version of each library that takes part.
        views: number V of augmented pictures of each image beside the plain one.
        augmentation: how they are made; JSON values only, empty without views.
        code: revision of the code that turns images into features.
    """

    backbone: str
    weights_sha256: str
    transform: Mapping[str, JSON]
    pool: str
    dtype: str
    num_features: int
    precision: str
    rows_digest: str
    versions: Mapping[str, str]
    views: int = 0
    augmentation: Mapping[str, JSON] = field(default_factory=dict)
    code: int = 1

    def __post_init__(self) -> None:
        """Bring the mappings into the form they have after a trip through JSON.

        Raises:
            InputError: the dtype is unknown, or num_features is not positive.
        """
        if self.dtype not in FEATURE_DTYPES:
            raise InputError(
                f"features cannot be stored as {self.dtype!r}: choose one of "
                f"{', '.join(FEATURE_DTYPES)}"
            )
        if self.num_features < 1:
            raise InputError(f"num_features is {self.num_features}, expected at least 1")
        # Tuples become lists here, so that a fingerprint equals itself read back from disk.
        for name in ("transform", "augmentation"):
            object.__setattr__(self, name, json.loads(json.dumps(dict(getattr(self, name)))))
        object.__setattr__(self, "versions", dict(self.versions))

    def to_json(self) -> dict[str, JSON]:
        """Return the facts as plain JSON values."""
        facts: dict[str, JSON] = asdict(self)
        return {
            name: value
            for name, value in facts.items()
            if name not in _LATER or value != _LATER[name]
        }

    @property
    def pools(self) -> tuple[str, ...]:
        """The ways of pooling, one by one."""
        return tuple(self.pool.split(","))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the feature vectors that each image has, the default first.

        A pool by itself is of the plain picture, `POOL@2` of its second augmented view.
        """
        views = ["", *(f"@{view}" for view in range(1, self.views + 1))]
        return tuple(f"{pool}{view}" for view in views for pool in self.pools)

    @property
    def averaged_names(self) -> tuple[str, ...]:
        """Names of what can be read beside `feature_names` without being stored.

        `POOL@mean` is the mean of the pool's vectors of the plain picture and of all its views.
        """
        return tuple(f"{pool}{MEAN}" for pool in self.pools) if self.views else ()

    def parts_of(self, feature: str) -> tuple[str, ...]:
        """Return which of the `feature_names` a feature is the mean of: itself, if it is stored."""
        if feature not in self.averaged_names:
            return (feature,)
        pool = feature.removesuffix(MEAN)
        return (pool, *(f"{pool}@{view}" for view in range(1, self.views + 1)))

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Fingerprint:
        """Rebuild a fingerprint from `to_json`.

        Raises:
            KeyError: a field is missing.
        """
        known = {**_LATER, **facts}
        return cls(**{each.name: known[each.name] for each in fields(cls)})

    def digest(self) -> str:
        """Return the hex sha256 of all facts; equal fingerprints have equal digests."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: Fingerprint) -> list[tuple[str, JSON, JSON]]:
        """List (field, ours, theirs) for each field that differs, the most telling first.

        Of two mappings only the entries that differ are given.
        """
        ours, theirs = asdict(self), asdict(other)
        return [
            (name, *_differing_part(ours[name], theirs[name]))
            for name in ours
            if ours[name] != theirs[name]
        ]


def _differing_part(ours: JSON, theirs: JSON) -> tuple[JSON, JSON]:
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return ours, theirs
    return (
        {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value},
        {key: value for key, value in theirs.items() if key not in ours or ours[key] != value},
    )


def rows_digest(ids: Iterable[str], sizes: Iterable[int]) -> str:
    """Return the hex sha256 over (id, file size in bytes) of all rows, in order.

    Raises:
        ValueError: there are not as many sizes as ids.
    """
    digest = hashlib.sha256()
    for row_id, size in zip(ids, sizes, strict=True):
        digest.update(json.dumps([row_id, size]).encode() + b"\n")
    return digest.hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """Return the hex sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
