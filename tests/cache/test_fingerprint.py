"""Which facts make features, and how differences between them are told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from cache import Fingerprint, InputError, rows_digest, sha256_of_file

OTHER: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "weights_sha256": "f" * 64,
    "transform": {"resize": 224, "crop": (224, 224), "mean": [0.5, 0.5, 0.5]},
    "pool": "max",
    "dtype": "float32",
    "num_features": 7,
    "precision": "bfloat16",
    "rows_digest": "0" * 64,
    "versions": {"torch": "2.7.0", "dml": "0.1.0"},
    "views": 2,
    "augmentation": {"scale": [0.5, 1.0], "seed": 0},
    "code": 9,
}


def test_a_fingerprint_survives_a_trip_through_json(example: Any) -> None:
    fingerprint = example.fingerprint
    again = Fingerprint.from_json(json.loads(json.dumps(fingerprint.to_json())))
    assert again == fingerprint
    assert again.digest() == fingerprint.digest()
    assert again.differences(fingerprint) == []


@pytest.mark.parametrize("field", OTHER)
def test_each_field_counts(example: Any, field: str) -> None:
    fingerprint = example.fingerprint
    other = replace(fingerprint, **{field: OTHER[field]})
    assert [name for name, _, _ in fingerprint.differences(other)] == [field]
    assert other.digest() != fingerprint.digest()


def test_every_field_is_tried_above() -> None:
    assert set(OTHER) == {field.name for field in fields(Fingerprint)}


def test_the_most_telling_difference_comes_first(example: Any) -> None:
    names = [name for name, _, _ in example.fingerprint.differences(Fingerprint(**OTHER))]
    assert names == list(OTHER)


def test_of_a_mapping_only_the_differing_entries_are_told(example: Any) -> None:
    fingerprint = example.fingerprint
    other = replace(fingerprint, transform={"resize": 256, "crop": [224, 224], "std": 1})
    assert fingerprint.differences(other) == [
        ("transform", {"mean": [0.5, 0.5, 0.5]}, {"std": 1}),
    ]


@pytest.mark.parametrize(("field", "value"), [("dtype", "int4"), ("num_features", 0)])
def test_impossible_facts_are_refused(example: Any, field: str, value: object) -> None:
    with pytest.raises(InputError, match=str(value)):
        replace(example.fingerprint, **{field: value})


def test_facts_that_came_later_do_not_change_the_digest_of_what_lacks_them(example: Any) -> None:
    facts = example.fingerprint.to_json()
    assert not {"views", "augmentation", "code"} & set(facts)
    assert Fingerprint.from_json(facts) == replace(example.fingerprint, views=0, code=1)


def test_the_feature_names_go_through_the_views_and_in_each_through_the_pools(
    example: Any,
) -> None:
    names = replace(example.fingerprint, pool="avg,avg+max", views=2).feature_names
    assert names == ("avg", "avg+max", "avg@1", "avg+max@1", "avg@2", "avg+max@2")


def test_the_rows_digest_knows_ids_sizes_order_and_borders() -> None:
    digests = {
        rows_digest(ids, sizes)
        for ids, sizes in [
            (["a", "b"], [1, 2]),
            (["b", "a"], [2, 1]),
            (["a", "b"], [2, 1]),
            (["a", "bc"], [1, 2]),
            (["ab", "c"], [1, 2]),
            (["a"], [1]),
            (['a", 1]\n["b'], [2]),
        ]
    }
    assert len(digests) == 7


def test_as_many_sizes_as_ids_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        rows_digest(["a", "b"], [1])


def test_the_sha256_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"content")
    assert sha256_of_file(tmp_path / "weights") == hashlib.sha256(b"content").hexdigest()
