"""`dml info --duplicates`: leaks before contradicting labels before the rest, and all in a file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache import FeatureStore, Fingerprint, StoreWriter, rows_digest
from pipeline.duplicates import DuplicateReport, list_duplicates
from pipeline.measures.duplicates import EVIDENCE

FILE, EQUAL, HASH, COSINE = EVIDENCE
# Six pairs, by row: what they are, label and split of both, and by how much they differ.
PAIRS = (
    ("rest", ("cat", "cat"), ("train", "train"), "file"),
    ("labels", ("cat", "dog"), ("train", "train"), "cosine"),
    ("leak", ("cat", "cat"), ("val", "test"), "file"),
    ("leak", ("cat", "dog"), ("train", "test"), "cosine"),
    ("leak", ("dog", "dog"), ("test", "train"), "file"),
    ("labels", ("cow", "dog"), ("test", "test"), "hash"),
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., FeatureStore]:
    """Write a store of given features, with hashes of images or without."""

    def written(
        values: np.ndarray,
        images: np.ndarray | None = None,
        *,
        labels: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        unreadable: dict[int, str] | None = None,
    ) -> FeatureStore:
        ids = [f"{row:03}.jpg" for row in range(len(values))]
        columns: dict[str, Any] = {"id": ids, "path": ids, "label": labels or ["cat"] * len(ids)}
        if splits:
            columns["split"] = splits
        fingerprint = Fingerprint(
            backbone="resnet50",
            weights_sha256="0" * 64,
            transform={},
            pool="avg",
            dtype="float32",
            num_features=values.shape[1],
            precision="float32",
            rows_digest=rows_digest(ids, range(len(ids))),
            versions={},
        )
        with StoreWriter.create_or_resume(
            tmp_path / "some.zarr",
            fingerprint=fingerprint,
            rows=pa.table(columns),
            root="photos",
            chunk_rows=len(values),
            images=images is not None,
        ) as writer:
            writer.write(0, values, unreadable or {}, images)
        return FeatureStore.open(tmp_path / "some.zarr")

    return written


@pytest.fixture
def six(make: Callable[..., FeatureStore]) -> FeatureStore:
    """The six pairs above, and 8 rows that are like no other."""
    generator = np.random.default_rng(0)
    values = generator.standard_normal((20, 64)).astype(np.float32)
    images = generator.integers(0, 256, (20, 40), np.uint8)
    labels, splits = ["bird"] * 20, ["train"] * 20
    for number, (_, names, roles, by) in enumerate(PAIRS):
        left, right = 2 * number, 2 * number + 1
        labels[left], labels[right] = names
        splits[left], splits[right] = roles
        step = generator.standard_normal(64).astype(np.float32)
        values[right] = values[left] + {"file": 0, "cosine": 0.1, "hash": 1}[by] * step
        if by == "file":
            images[right] = images[left]
        if by == "hash":
            images[right, 32:] = images[left, 32:] ^ np.array([1, 0, 4, 0, 0, 0, 0, 0], np.uint8)
    return make(values, images, labels=labels, splits=splits)


def pairs(report: DuplicateReport) -> list[int]:
    """The numbers of the pairs in the order of the report."""
    return [int(group.members[0].id[:3]) // 2 for group in report.groups]


def test_leaks_with_train_come_first_then_other_leaks_then_labels_then_the_rest(six):
    report = list_duplicates(six)
    assert [group.kind for group in report.groups] == ["leak"] * 3 + ["labels"] * 2 + ["rest"]
    assert pairs(report) == [4, 3, 2, 5, 1, 0]  # of equal kind the surer evidence comes first
    assert report.rows == 20
    assert report.has_images
    assert report.has_splits


def test_each_group_tells_its_pictures_labels_splits_and_evidence(six):
    leak = list_duplicates(six).groups[0]
    assert leak.across == ("008.jpg", "009.jpg")
    assert leak.splits == {"test": 1, "train": 1}
    assert leak.labels == {"dog": 2}
    assert leak.link == leak.evidence == EVIDENCE
    assert leak.cosine == pytest.approx(1)
    assert not leak.is_chain
    first, second = leak.members
    assert (first.id, first.label, first.split) == ("008.jpg", "dog", "test")
    assert (first.closest, second.closest) == ("009.jpg", "008.jpg")


def test_a_leak_of_a_chain_names_its_closest_two_pictures_of_different_splits(make):
    angles = np.radians([0, 10, 20, 30])
    values = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    store = make(values, splits=["train", "train", "test", "test"])
    (leak,) = list_duplicates(store, threshold=float(np.cos(np.radians(11)))).groups
    assert (leak.kind, leak.across, leak.link) == ("leak", ("001.jpg", "002.jpg"), (COSINE,))
    assert leak.is_chain
    assert leak.smallest == pytest.approx(np.cos(np.radians(30)))


def test_the_link_of_two_pictures_is_not_that_of_their_copies(make):
    images = np.random.default_rng(0).integers(0, 256, (4, 40), np.uint8)
    images[1], images[3] = images[0], images[2]
    angles = np.radians([0, 0, 5, 5])
    values = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    (leak,) = list_duplicates(
        make(values, images, splits=["train", "train", "test", "test"])
    ).groups
    assert leak.evidence == EVIDENCE
    assert leak.link == (COSINE,)


def test_without_splits_and_images_features_and_labels_are_compared(make, dml):
    values = np.eye(4, dtype=np.float32)
    values[3] = values[0]
    report = list_duplicates(make(values, labels=["cat", "cat", "cat", "dog"]))
    assert (report.has_images, report.has_splits) == (False, False)
    assert [group.kind for group in report.groups] == ["labels"]
    answer = dml(f"info {report.store} --duplicates")
    assert "no hashes of the image files: features alone" in answer.out
    assert "no splits: leaks between them cannot be told" in answer.out
    assert "000.jpg (cat) = 003.jpg (dog): equal features" in answer.out


def test_unreadable_pictures_shift_no_row(make):
    values = np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32)
    images = np.random.default_rng(0).integers(0, 256, (9, 40), np.uint8)
    values[8], images[8] = values[5], images[5]
    store = make(values, images, unreadable={0: "empty file", 6: "not an image"})
    (group,) = list_duplicates(store).groups
    assert [member.id for member in group.members] == ["005.jpg", "008.jpg"]
    assert group.evidence[0] == FILE


def test_a_store_without_duplicates_has_no_groups(make, dml):
    store = make(np.eye(5, dtype=np.float32))
    assert list_duplicates(store).groups == ()
    answer = dml(f"info {store.path} --duplicates --out none.csv")
    assert (answer.code, Path("none.csv").read_text().count("\n")) == (0, 1)
    assert "5 pictures compared, 0 groups" in answer.out


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_command_counts_and_lists_the_worst_first(six, dml):
    answer = dml(f"info {six.path} --duplicates")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert "20 pictures compared, 6 groups of duplicates with 12 pictures" in lines[0]
    assert [line.split()[-2:] for line in lines[2:5]] == [["3", "6"], ["2", "4"], ["1", "2"]]
    listed = [line for line in lines if line.startswith("  ")]
    assert listed[0].startswith("  008.jpg (test) = 009.jpg (train): same file; cosine 1")
    assert listed[1].startswith("  006.jpg (train) = 007.jpg (test): alike features; cosine 0.99")
    assert listed[1].endswith("labels differ, too")
    assert listed[3].startswith("  010.jpg (cow) = 011.jpg (dog): alike pictures; cosine 0.")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_file_has_a_line_for_each_picture_of_each_group(six, dml, suffix):
    assert dml(f"info {six.path} --duplicates --out found/all.{suffix}").code == 0
    file = Path("found") / f"all.{suffix}"
    if suffix == "csv":
        with open(file, newline="") as stream:
            lines = list(csv.DictReader(stream))
    else:
        lines = pq.read_table(file).to_pylist()
    assert [line["id"] for line in lines[:4]] == ["008.jpg", "009.jpg", "006.jpg", "007.jpg"]
    assert [int(line["group"]) for line in lines] == [at // 2 + 1 for at in range(12)]
    first = lines[0]
    assert (first["kind"], first["label"], first["split"]) == ("leak", "dog", "test")
    assert first["evidence"] == "; ".join(EVIDENCE)
    assert first["closest_id"] == "009.jpg"
    assert float(first["closest_cosine"]) == pytest.approx(1)


def test_a_file_is_not_overwritten_unless_forced(six, dml):
    Path("all.csv").write_text("mine")
    line = f"info {six.path} --duplicates --out all.csv"
    assert "all.csv exists" in dml(line).refusal()
    assert Path("all.csv").read_text() == "mine"
    assert dml(f"{line} --force").code == 0
    assert Path("all.csv").read_text() != "mine"


def test_json_has_all_groups_and_counts(six, dml):
    found = dml(f"info {six.path} --duplicates --json").json()
    assert found["counts"] == {"leak": 3, "labels": 2, "rest": 1}
    assert len(found["groups"]) == 6
    assert found["groups"][0]["members"][0]["id"] == "008.jpg"
    assert (found["threshold"], found["recall"], found["file"]) == (0.97, None, None)


def test_what_faiss_misses_is_printed(six, dml, monkeypatch):
    monkeypatch.setattr("pipeline.measures.duplicates.is_quick", lambda *_, **__: False)
    answer = dml(f"info {six.path} --duplicates")
    assert answer.code == 0
    assert "searched by FAISS, not exactly" in answer.out
    recall = dml(f"info {six.path} --duplicates --json").json()["recall"]
    assert set(recall) == {"rows", "pairs", "found", "nearest"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--threshold 0", "--threshold is 0, expected a cosine above 0 and up to 1"),
        ("--threshold nan", "--threshold is nan, expected a cosine"),
        ("--out all.txt", "--out all.txt: expected a name that ends in .csv or .parquet"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(six, dml, words, line):
    assert dml(f"info {six.path} --duplicates {words}").refusal().startswith(f"dml: {line}")


def test_an_unfinished_store_is_refused(make_store, tmp_path, dml):
    store = make_store(tmp_path / "part.zarr", chunks=1)
    assert "is not complete" in dml(f"info {store.path} --duplicates").refusal()
