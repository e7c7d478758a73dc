"""Cars196 on tiny replicas of its four layouts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cache.errors import InputError
from pipeline.datasets.reading import read_data_set

from .found import by_id, wrong

MODELS = [f"Maker {number} Van/Bus 2012" for number in range(1, 197)]
CARS = {
    "train": [("00001.jpg", 1), ("00002.jpg", 98)],
    "test": [("00001.jpg", 99), ("00002.jpg", 196)],
}


def mat(**values: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, values)
    return stream.getvalue()


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    found = np.zeros((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for at, row in enumerate(rows):
        for name, value in row.items():
            found[0, at][name] = value
    return found


def cells(texts: list[str]) -> np.ndarray:
    found = np.empty((1, len(texts)), dtype=object)
    found[0, :] = texts
    return found


BOX = {"bbox_x1": 1, "bbox_y1": 2, "bbox_x2": 3, "bbox_y2": 4}


def make_old(root: Path, make: Any) -> Path:
    rows = [label for half in CARS.values() for _, label in half]
    names = [f"car_ims/{at:06}.jpg" for at in range(1, len(rows) + 1)]
    annotations = [
        {"relative_im_path": name, **BOX, "class": label, "test": 0}
        for name, label in zip(names, rows, strict=True)
    ]
    content = mat(annotations=structs(annotations), class_names=cells(MODELS))
    return Path(make(root, {"cars_annos.mat": content}, names))


def make_devkit(root: Path, make: Any) -> Path:
    files = {"devkit/cars_meta.mat": mat(class_names=cells(MODELS))}
    for half, name in (("train", "cars_train_annos"), ("test", "cars_test_annos_withlabels")):
        rows = [{**BOX, "class": label, "fname": file} for file, label in CARS[half]]
        files[f"devkit/{name}.mat"] = mat(annotations=structs(rows))
    images = [f"cars_{half}/{file}" for half, rows in CARS.items() for file, _ in rows]
    return Path(make(root, files, images))


def make_by_classes(root: Path, make: Any) -> Path:
    files = {"names.csv": "\n".join(MODELS)}
    images = []
    for half, rows in CARS.items():
        files[f"anno_{half}.csv"] = "".join(f"{name},1,2,3,4,{label}\n" for name, label in rows)
        for name, label in rows:
            folder = MODELS[label - 1].replace("/", "-")
            images.append(f"car_data/car_data/{half}/{folder}/{name}")
    return Path(make(root, files, images))


def make_lists(root: Path, make: Any) -> Path:
    files = {f"CARS_{half}.csv": "" for half in CARS}
    images = []
    for half, rows in CARS.items():
        for name, label in rows:
            folder = MODELS[label - 1].replace("/", "-").replace(" Van", ", Van")
            images.append(f"cars196/images/{folder}/{label}_{name}")
            files[f"CARS_{half}.csv"] += f"/data/{images[-1]},{label}\n"
    return Path(make(root, files, images))


def test_every_layout_of_cars_gives_the_same_division_by_class(tmp_path: Path, make: Any) -> None:
    makers = (make_old, make_devkit, make_by_classes, make_lists)
    found = [read_data_set("cars196", maker(tmp_path / maker.__name__, make)) for maker in makers]
    for each in found:
        assert sorted(by_id(each).values()) == [
            ("1", "train"),
            ("196", "test"),
            ("98", "train"),
            ("99", "test"),
        ]
        assert wrong(each)["train images"] == (8054, 2)
        assert "image files that are there" not in wrong(each)
    assert by_id(found[1]) == by_id(found[2])  # whose halves share file names
    assert "cars_test/00001.jpg" in by_id(found[1])
    for each in found[:3]:
        assert each.extra["class_name"][1] == MODELS[97]
    assert "layout: devkit, cars_train and cars_test" in found[1].notes


def test_cars_images_may_stay_in_a_plain_tar(tmp_path: Path, make: Any, pack: Any) -> None:
    root = make_old(tmp_path / "set", make)
    expected = read_data_set("cars196", root)
    (root / "car_ims").rename(tmp_path / "car_ims")
    (tmp_path / "files").mkdir()
    (tmp_path / "car_ims").rename(tmp_path / "files" / "car_ims")
    pack(tmp_path / "files", root / "car_ims.tar")
    found = read_data_set("cars196", root)
    assert found.digest == expected.digest
    assert found.manifest.paths[0] == "car_ims.tar::car_ims/000001.jpg"


def test_damaged_or_missing_files_of_cars_are_refused(tmp_path: Path, make: Any) -> None:
    with pytest.raises(InputError, match=r"no cars_annos\.mat, devkit/.*, CARS_train\.csv in"):
        read_data_set("cars196", tmp_path)
    (tmp_path / "car_ims.tgz").touch()
    with pytest.raises(InputError, match=r"car_ims\.tgz there is compressed, so unpack it first"):
        read_data_set("cars196", tmp_path)
    root = make_devkit(tmp_path / "devkit", make)
    labels = root / "devkit/cars_test_annos_withlabels.mat"
    content = labels.read_bytes()
    labels.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="withlabels.mat is no whole MATLAB file"):
        read_data_set("cars196", root)
    labels.unlink()
    with pytest.raises(InputError, match="the labels of the test half are in it"):
        read_data_set("cars196", root)
    root = make_by_classes(tmp_path / "classes", make)
    (root / "anno_test.csv").write_text("00001.jpg,1,2,3,4,197\n")
    with pytest.raises(InputError, match="line 1 of .*anno_test.csv .* a class from 1 to 196"):
        read_data_set("cars196", root)
