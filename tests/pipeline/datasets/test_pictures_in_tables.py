"""CIFAR with the labels of people, and Hugging Face folders, on tiny replicas."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cache.errors import InputError
from pipeline.datasets.reading import read_data_set
from pipeline.extraction.pictures.decoding import decode

from .found import by_id, wrong


def batch(count: int, seed: int, **columns: list[int]) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)
    return pickle.dumps({"data": pixels, **columns}, protocol=2)


def make_cifar10(root: Path, make: Any) -> Path:
    files: dict[str, bytes] = {
        f"data_batch_{at}": batch(2, at, labels=[at % 10, (at + 1) % 10]) for at in range(1, 6)
    }
    files["test_batch"] = batch(2, 9, labels=[0, 9])
    files["batches.meta"] = pickle.dumps({"label_names": [f"kind {at}" for at in range(10)]})
    return Path(make(root, {f"cifar-10-batches-py/{name}": each for name, each in files.items()}))


CLEAN = np.array([1, 2, 2, 3, 3, 4, 4, 5, 5, 6])


def human(clean: np.ndarray = CLEAN) -> dict[str, np.ndarray]:
    names = ("aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
    labels = {name: (clean + at) % 10 for at, name in enumerate(names, start=1)}
    return {"clean_label": clean, **labels}


def test_cifar10_keeps_the_order_of_its_batches(tmp_path: Path, make: Any) -> None:
    root = make_cifar10(tmp_path, make)
    found = read_data_set("cifar10", root)
    assert found.manifest.labels == (*map(str, CLEAN), "0", "9")
    assert found.manifest.ids[2] == "data_batch_2::0"
    assert found.manifest.splits == ("train",) * 10 + ("test",) * 2
    assert found.manifest.true_labels is None
    assert found.extra["class_name"][0] == "kind 1"
    assert wrong(found)["train images"] == (50000, 10)
    assert decode(found.manifest.root / found.manifest.paths[2]).size == (32, 32)
    inner = read_data_set("cifar10", root / "cifar-10-batches-py")
    assert (inner.manifest.ids, inner.digest) == (found.manifest.ids, found.digest)


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize(("labels", "shift"), [("aggre", 1), ("worse", 2), ("random3", 5)])
def test_the_labels_of_people_are_given_and_the_official_ones_true(
    tmp_path: Path, make: Any, labels: str, shift: int, is_legacy: bool
) -> None:
    root = make_cifar10(tmp_path, make)
    torch.save(human(), root / "CIFAR-10_human.pt", _use_new_zipfile_serialization=not is_legacy)
    found = read_data_set("cifar10", root, [f"labels={labels}"])
    assert found.manifest.labels == (*map(str, (CLEAN + shift) % 10), "0", "9")
    assert found.manifest.true_labels == (*map(str, CLEAN), "0", "9")


def test_labels_of_people_that_do_not_fit_are_refused(tmp_path: Path, make: Any) -> None:
    root = make_cifar10(tmp_path, make)
    file = root / "CIFAR-10_human.pt"
    with pytest.raises(InputError, match=r"no CIFAR-10_human\.pt in .*: the labels of people"):
        read_data_set("cifar10", root, ["labels=worse"])
    torch.save(human(CLEAN[::-1].copy()), file)
    with pytest.raises(InputError, match="are not those of the batches in .*: the order"):
        read_data_set("cifar10", root, ["labels=worse"])
    torch.save({"clean_label": CLEAN}, file)
    with pytest.raises(InputError, match="has no 'worse_label' of 10 whole numbers, its columns"):
        read_data_set("cifar10", root, ["labels=worse"])
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="is no whole pickle of plain values"):
        read_data_set("cifar10", root, ["labels=worse"])
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(io.StringIO))
    with pytest.raises(InputError, match=r"it asks for _?io\.StringIO"):
        read_data_set("cifar10", root, ["labels=worse"])


def test_a_missing_or_truncated_batch_is_refused(tmp_path: Path, make: Any) -> None:
    file = make_cifar10(tmp_path, make) / "cifar-10-batches-py" / "data_batch_3"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="data_batch_3 is no whole pickle .* get it again"):
        read_data_set("cifar10", tmp_path)
    file.unlink()
    with pytest.raises(InputError, match="no data_batch_3 in .*: unpack the data set again"):
        read_data_set("cifar10", tmp_path)
    make(tmp_path / "b", {"cifar-10-python.tar.gz": b"x"})
    with pytest.raises(InputError, match="no data_batch_1 in .*tar.gz there is compressed"):
        read_data_set("cifar10", tmp_path / "b")


def test_cifar100_has_the_coarse_class_of_the_given_label(tmp_path: Path, make: Any) -> None:
    files = {
        "train": batch(3, 0, fine_labels=[7, 8, 9], coarse_labels=[0, 0, 1]),
        "test": batch(2, 1, fine_labels=[9, 7], coarse_labels=[1, 0]),
        "meta": pickle.dumps({"fine_label_names": [f"kind {at}" for at in range(100)]}),
    }
    make(tmp_path, {f"cifar-100-python/{name}": each for name, each in files.items()})
    noisy = {"clean_label": np.array([7, 8, 9]), "noisy_label": np.array([9, 8, 7])}
    torch.save(noisy, tmp_path / "CIFAR-100_human.pt")
    clean = read_data_set("cifar100", tmp_path)
    assert clean.manifest.superlabels == ("0", "0", "1", "1", "0")
    assert wrong(clean)["coarse classes"] == (20, 2)
    found = read_data_set("cifar100", tmp_path, ["labels=noisy"])
    assert found.manifest.labels == ("9", "8", "7", "9", "7")
    assert found.manifest.true_labels == ("7", "8", "9", "9", "7")
    assert found.manifest.superlabels == ("1", "0", "0", "1", "0")


# Hugging Face


def write_hf(
    file: Path, contents: list[bytes], labels: list[int], *, is_noted: bool = True
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": each, "path": f"{at}.jpg"} for at, each in enumerate(contents)]
    table = pa.table({"image": images, "label": labels, "id": list(range(len(labels)))})
    kinds = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    if is_noted:
        noted = json.dumps({"info": {"features": kinds}})
        table = table.replace_schema_metadata({"huggingface": noted})
    pq.write_table(table, file)


def test_a_hugging_face_folder_is_read_by_split(tmp_path: Path, picture: Any) -> None:
    pictures = [picture(at) for at in range(6)]
    write_hf(tmp_path / "data/train-00000-of-00002.parquet", pictures[:2], [0, 1])
    write_hf(tmp_path / "data/train-00001-of-00002.parquet", pictures[2:4], [1, 0])
    write_hf(tmp_path / "data/validation-00000-of-00001.parquet", pictures[4:5], [0])
    write_hf(tmp_path / "default/test/0000.parquet", pictures[5:], [-1])
    write_hf(tmp_path / ".cache/train-00000.parquet", pictures, [0] * 6)
    found = read_data_set("hf", tmp_path)
    assert by_id(found) == {
        "data/train-00000-of-00002.parquet::0": ("0", "train"),
        "data/train-00000-of-00002.parquet::1": ("1", "train"),
        "data/train-00001-of-00002.parquet::0": ("1", "train"),
        "data/train-00001-of-00002.parquet::1": ("0", "train"),
        "data/validation-00000-of-00001.parquet::0": ("0", "val"),
        "default/test/0000.parquet::0": ("-1", "test"),
    }
    assert found.extra["class_name"] == ["cat", "dog", "dog", "cat", "cat", ""]
    for path, content in zip(found.manifest.paths, pictures, strict=True):
        (tmp_path / "one.png").write_bytes(content)
        expected = decode(tmp_path / "one.png").tobytes()
        assert decode(tmp_path / path).tobytes() == expected


def test_a_single_table_without_notes_has_no_splits(tmp_path: Path, picture: Any) -> None:
    write_hf(tmp_path / "all.parquet", [picture(0), picture(1)], [3, 4], is_noted=False)
    found = read_data_set("hf", tmp_path / "all.parquet")
    assert found.manifest.splits is None
    assert found.manifest.labels == ("3", "4")
    with pytest.raises(InputError, match="has no column 'colour', only image, label, id"):
        read_data_set("hf", tmp_path, ["label=colour"])
    write_hf(tmp_path / "test.parquet", [picture(2)], [3])
    with pytest.raises(InputError, match="some files in .* name their split and some do not"):
        read_data_set("hf", tmp_path)


def test_a_table_without_images_or_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.parquet file in"):
        read_data_set("hf", tmp_path)
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="of these none can be the image: choose with --set image"):
        read_data_set("hf", tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="no whole Parquet table"):
        read_data_set("hf", tmp_path)
