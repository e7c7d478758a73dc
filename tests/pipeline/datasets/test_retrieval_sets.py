"""CUB, Stanford Online Products and In-Shop, on tiny replicas of their layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache.errors import InputError
from pipeline.datasets.official import cub, sop
from pipeline.datasets.reading import read_data_set

from .found import by_id, wrong

# CUB-200-2011

BIRDS = {
    "1": ("001.Black_footed_Albatross/a_1.jpg", "1"),
    "2": ("100.Brown_Pelican/b.jpg", "100"),
    "3": ("101.White_Pelican/c d.jpg", "101"),
    "4": ("200.Common_Yellowthroat/e.jpg", "200"),
}


def make_birds(root: Path, make: Any) -> Path:
    images = {number: path for number, (path, _) in BIRDS.items()}
    names = {str(number): f"{number:03}.bird" for number in range(1, 201)}
    tables = {
        "images.txt": {**images, "5": "200.Common_Yellowthroat/._e.jpg"},
        "image_class_labels.txt": {number: label for number, (_, label) in BIRDS.items()},
        "train_test_split.txt": dict.fromkeys(BIRDS, "1"),
        "classes.txt": names,
    }
    files = {
        name: "".join(f"{key} {value}\n" for key, value in rows.items())
        for name, rows in tables.items()
    }
    return Path(make(root, files, [f"images/{path}" for path in images.values()]))


@pytest.mark.parametrize("inside", ["", "CUB_200_2011", "CUB.zip", "CUB.tar"])
def test_cub_is_divided_by_class_wherever_its_files_lie(
    tmp_path: Path, make: Any, pack: Any, inside: str
) -> None:
    folder = make_birds(tmp_path / "root" / "CUB_200_2011", make)
    if "." in inside:
        pack(tmp_path / "root", (tmp_path / "packed").with_suffix(Path(inside).suffix))
        root = (tmp_path / "packed").with_suffix(Path(inside).suffix)
    else:
        root = folder.parent if inside else folder
    found = read_data_set("cub", root)
    assert by_id(found) == {
        path: (label, "train" if int(label) <= 100 else "test") for path, label in BIRDS.values()
    }
    assert wrong(found)["train images"] == (5864, 2)
    assert wrong(found)["test classes"] == (100, 2)
    assert len(wrong(found)) == 4
    assert found.extra["class_name"][0] == "001.bird"
    assert found.digest == read_data_set("cub", folder).digest


def test_right_counts_are_no_mismatch(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cub, "EXPECTED", {"train": (2, 2), "test": (2, 2)})
    assert read_data_set("cub", make_birds(tmp_path, make)).mismatches == ()


def test_a_missing_image_and_a_wrong_folder_number_are_counted(tmp_path: Path, make: Any) -> None:
    root = make_birds(tmp_path, make)
    (root / "images" / BIRDS["1"][0]).unlink()
    (root / "image_class_labels.txt").write_text("1 1\n2 99\n3 101\n4 200\n")
    found = wrong(read_data_set("cub", root))
    assert found["image files that are there"] == (4, 3)
    assert found["labels that agree with the number of their folder"] == (4, 3)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images.txt", None, "cannot read .*images.txt .* the data set needs it"),
        ("image_class_labels.txt", None, r"no image_class_labels.txt in .*, .*CUB_200_2011: give"),
        ("image_class_labels.txt", "1 1\n", "image 2 .* has no line in .*may be truncated"),
        ("image_class_labels.txt", "1 1\n2\n", "line 2 of .* is '2': expected 2 fields"),
        ("image_class_labels.txt", "1 x\n", "has the label 'x': expected a number"),
        ("images.txt", b"\xff\xfe\x00", "is no UTF-8 text"),
    ],
)
def test_damaged_birds_are_refused_in_one_line(
    tmp_path: Path, make: Any, file: str, content: str | bytes | None, message: str
) -> None:
    root = make_birds(tmp_path, make)
    (root / file).unlink()
    if content is not None:
        make(root, {file: content})
    with pytest.raises(InputError, match=message) as caught:
        read_data_set("cub", root)
    assert "\n" not in str(caught.value)


# Stanford Online Products


def test_sop_has_its_categories_as_superlabels(tmp_path: Path, make: Any, pack: Any) -> None:
    header = "image_id class_id super_class_id path\n"
    root = tmp_path / "Stanford_Online_Products"
    paths = ["bicycle_final/111_0.JPG", "bicycle_final/111_1.JPG", "coffee_maker_final/9_0.JPG"]
    files = {
        "Ebay_train.txt": header + f"1 1 1 {paths[0]}\n2 1 1 {paths[1]}\n",
        "Ebay_test.txt": header + f"3 11319 4 {paths[2]}\n",
        "Ebay_info.txt": "x",
    }
    make(root, files, paths)
    found = read_data_set("sop", tmp_path)
    assert by_id(found) == {
        paths[0]: ("1", "train"),
        paths[1]: ("1", "train"),
        paths[2]: ("11319", "test"),
    }
    assert found.manifest.superlabels == ("bicycle", "bicycle", "coffee_maker")
    assert found.manifest.paths[0] == f"Stanford_Online_Products/{paths[0]}"
    assert wrong(found)["categories"] == (12, 2)
    assert wrong(found)["train images"] == (sop.EXPECTED["train"][0], 2)
    archive = pack(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")
    packed = read_data_set("sop", archive)
    assert packed.digest == found.digest
    assert packed.manifest.paths[0] == f"{archive.name}::Stanford_Online_Products/{paths[0]}"


# In-Shop

GARMENTS = {
    "img/WOMEN/Dresses/id_00000002/02_1_front.jpg": ("id_00000002", "train"),
    "img/WOMEN/Dresses/id_00000002/02_2_side.jpg": ("id_00000002", "train"),
    "img/MEN/Denim/id_00000080/01_1_front.jpg": ("id_00000080", "query"),
    "img/MEN/Denim/id_00000080/01_7_additional.jpg": ("id_00000080", "gallery"),
}


def make_garments(root: Path, make: Any, images: str) -> Path:
    rows = "".join(f"{name:<70} {item} {status:<8}\n" for name, (item, status) in GARMENTS.items())
    boxes = "".join(f"{name}  3  1  1 2 3 4\n" for name in GARMENTS)
    files = {
        "Eval/list_eval_partition.txt": f"4\nimage_name item_id evaluation_status\n{rows}",
        "Anno/list_bbox_inshop.txt": f"4\nimage_name clothes_type pose_type x_1 y_1\n{boxes}",
    }
    return Path(make(root, files, [images + name.removeprefix("img") for name in GARMENTS]))


@pytest.mark.parametrize("images", ["img", "Img/img"])
def test_in_shop_is_read_with_and_without_its_img_folder(
    tmp_path: Path, make: Any, images: str
) -> None:
    found = read_data_set("in-shop", make_garments(tmp_path, make, images))
    assert by_id(found) == GARMENTS
    assert found.manifest.superlabels == ("WOMEN/Dresses",) * 2 + ("MEN/Denim",) * 2
    assert found.extra["clothes_type"] == ["3"] * 4
    assert wrong(found)["query+gallery classes"] == (3985, 1)
    assert "rows of list_eval_partition.txt by its first line" not in wrong(found)
    assert any(note.startswith("images: img, in ") for note in found.notes)


@pytest.mark.parametrize("inner", ["img", ""])
def test_in_shop_images_may_stay_in_their_archive(
    tmp_path: Path, make: Any, pack: Any, inner: str
) -> None:
    root = make_garments(tmp_path / "set", make, "../files/img")
    pack(tmp_path / "files" / ("" if inner else "img"), root / "img.zip")
    found = read_data_set("in-shop", root)
    assert not any(count.what.startswith("image files") for count in found.mismatches)
    assert "img.zip::" in found.manifest.paths[0]
    assert by_id(found) == GARMENTS


def test_in_shop_tells_of_a_short_partition_and_of_missing_images(
    tmp_path: Path, make: Any
) -> None:
    root = make_garments(tmp_path, make, "img")
    file = root / "Eval/list_eval_partition.txt"
    file.write_text(file.read_text().replace("4\n", "52712\n", 1))
    found = read_data_set("in-shop", root)
    assert wrong(found)["rows of list_eval_partition.txt by its first line"] == (52712, 4)
    with pytest.raises(InputError, match=r"no WOMEN/.* in .*img_highres.*: the images are not"):
        read_data_set("in-shop", root, ["images=img_highres"])
