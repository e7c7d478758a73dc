"""CARS-98N, Food-101N, WebVision, Clothing1M and label lists, on tiny replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache.errors import InputError
from pipeline.datasets.official import webvision
from pipeline.datasets.reading import read_data_set

from .found import by_id, wrong

# CARS-98N and label lists

WEB_CARS = ["cars_noise/img_v3/0/ab--red, fast car.jpg", "cars_noise/img_v3/97/cd--x.JPG"]
CLEAN_CARS = ["cars196/images/Audi A4, 2012/1.jpg", "cars196/images/BMW X5/2.jpg"]


def make_web_cars(root: Path, make: Any, prefix: str = "/data/") -> Path:
    files = {
        "CARSN_train.csv": f"{prefix}{WEB_CARS[0]},1\n{prefix}{WEB_CARS[1]},98\n",
        "CARSN_test.csv": f"{prefix}{CLEAN_CARS[0]},99\n{prefix}{CLEAN_CARS[1]},196\n",
    }
    return Path(make(root, files, WEB_CARS + CLEAN_CARS))


@pytest.mark.parametrize("prefix", ["/data/", "/home/somebody/more/", ""])
def test_absolute_paths_of_cars_98n_are_found_below_the_root(
    tmp_path: Path, make: Any, prefix: str
) -> None:
    found = read_data_set("cars-98n", make_web_cars(tmp_path, make, prefix))
    assert found.manifest.paths == tuple(WEB_CARS + CLEAN_CARS)
    assert found.manifest.labels == ("1", "98", "99", "196")
    assert found.manifest.ids[0] == (prefix + WEB_CARS[0]).lstrip("/")
    assert found.manifest.true_labels is None
    assert wrong(found) == {
        "train images": (9558, 2),
        "train classes": (98, 2),
        "test images": (8131, 2),
        "test classes": (98, 2),
    }


def test_a_web_car_outside_its_class_s_folder_is_counted(tmp_path: Path, make: Any) -> None:
    root = make_web_cars(tmp_path, make)
    (root / "CARSN_train.csv").write_text(f"{WEB_CARS[0]},1\n{WEB_CARS[1]},97\n")
    found = read_data_set("cars-98n", root)
    assert wrong(found)["training labels that are their folder's number plus 1"] == (2, 1)


def test_lists_whose_images_are_elsewhere_are_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path, {"CARSN_train.csv": "/data/x/1.jpg,1\n", "CARSN_test.csv": "/x/2.jpg,2\n"})
    with pytest.raises(InputError, match=r"none of the first 1 images of .* lies below .*x/1\.jpg"):
        read_data_set("cars-98n", tmp_path)


def test_lists_are_split_at_the_last_comma_and_keep_their_labels(tmp_path: Path, make: Any) -> None:
    images = ["a, b c/1.jpg", "d/2.jpg", "e/._3.jpg", "f g/4.jpg"]
    files = {
        "CUB_0.2noised_train.csv": "/x/a, b c/1.jpg,101\n/x/d/2.jpg,0\n/x/e/._3.jpg,5\n",
        "test.txt": "f g/4.jpg 7\na, b c/1.jpg 8\n",
    }
    make(tmp_path, files, images)
    changes = ["train=CUB_0.2noised_train.csv", "test=test.txt"]
    found = read_data_set("lists", tmp_path, changes)
    assert by_id(found) == {
        "x/a, b c/1.jpg": ("101", "train"),
        "x/d/2.jpg": ("0", "train"),
        "f g/4.jpg": ("7", "test"),
        "a, b c/1.jpg": ("8", "test"),
    }
    with pytest.raises(InputError, match="lists needs --set test=VALUE"):
        read_data_set("lists", tmp_path, changes[:1])
    make(tmp_path, {"test.txt": "f/4.jpg\n"})
    with pytest.raises(InputError, match="line 1 of .* expected a path, a comma or space, and a"):
        read_data_set("lists", tmp_path, changes)


# Food-101N

TWICE = "a49e6fb26e356c6c41a37b5c18176355.jpg"
DISHES = [f"dish_{number:03}" for number in range(101)]


def make_dishes(root: Path, make: Any, header: str = "class_name\n") -> Path:
    keys = [f"{dish}/1.jpg" for dish in DISHES] + [f"{DISHES[0]}/{TWICE}", f"{DISHES[1]}/{TWICE}"]
    clean = {"test": [f"{dish}/9" for dish in DISHES], "train": [f"{dish}/8" for dish in DISHES]}
    release, food = "Food-101N_release", "food-101"
    files = {
        f"{release}/meta/classes.txt": header + "\n".join(DISHES),
        f"{release}/meta/imagelist.tsv": "class_name/key\n" + "\n".join([*keys, keys[-1]]),
        f"{release}/meta/verified_train.tsv": "class_name/key\tverification_label\n"
        f"{DISHES[0]}/1.jpg\t0\n{DISHES[1]}/1.jpg\t1\n",
        f"{release}/meta/verified_val.tsv": f"class_name/key\tx\n{DISHES[2]}/1.jpg\t1\n",
        **{f"{food}/meta/{split}.txt": "\n".join(each) for split, each in clean.items()},
    }
    images = [f"{release}/images/{key}" for key in keys]
    images += [f"{food}/images/{key}.jpg" for each in clean.values() for key in each]
    return Path(make(root, files, images))


@pytest.mark.parametrize("header", ["class_name\n", ""])
def test_the_release_of_food_101n_trains_on_the_first_50_classes(
    tmp_path: Path, make: Any, header: str
) -> None:
    found = read_data_set("food-101n", make_dishes(tmp_path, make, header))
    rows = by_id(found)
    assert rows["dish_049/1.jpg"] == ("50", "train")
    assert rows["food-101/dish_050/8.jpg"] == ("51", "test")
    assert "dish_050/1.jpg" not in rows
    assert wrong(found) == {"train images": (144086, 52), "test images": (51000, 102)}
    verified = dict(zip(found.manifest.ids, found.extra["verified"], strict=True))
    assert [verified[f"{dish}/1.jpg"] for dish in DISHES[:4]] == ["0", "1", "1", ""]
    assert found.manifest.true_labels is None
    assert f"listed under 2 classes: dish_000/{TWICE}, dish_001/{TWICE}" in found.notes


def test_food_101n_as_a_closed_set_tests_on_all_classes(tmp_path: Path, make: Any) -> None:
    root = make_dishes(tmp_path, make) / "Food-101N_release"
    found = read_data_set("food-101n", root, ["protocol=closed-set"])
    assert wrong(found) == {"train images": (310009, 103), "test images": (25250, 101)}
    assert "food-101/dish_000/8.jpg" not in by_id(found)


def test_food_101n_without_the_clean_images_is_refused(tmp_path: Path, make: Any) -> None:
    root = make_dishes(tmp_path, make)
    (root / "food-101").rename(root / "elsewhere")
    with pytest.raises(InputError, match="the clean images of Food-101 are the test images"):
        read_data_set("food-101n", root)


def test_prism_s_lists_of_food_come_first(tmp_path: Path, make: Any) -> None:
    files = {
        "FOOD_train.csv": "/data/Food-101N_release/images/apple_pie/x.jpg,1\n",
        "FOOD_test.csv": "/data/food-101/images/hot_dog/1.jpg,51\n",
    }
    images = ["Food-101N_release/images/apple_pie/x.jpg", "food-101/images/hot_dog/1.jpg"]
    found = read_data_set("food-101n", make(tmp_path, files, images))
    assert found.manifest.labels == ("1", "51")
    assert found.notes == ("layout: PRISM's lists",)


# WebVision


def make_web(root: Path, make: Any, *, is_shuffled: bool = False) -> Path:
    numbers = [0, 24, 25, 49, 50, 999]
    lists = {
        "train_filelist_google": [f"google/q{n:04}/a b{n}.jpg {n}\n" for n in numbers],
        "train_filelist_flickr": [f"flickr/q{n:04}/{n}.jpg {n}\n" for n in numbers],
        "val_filelist": [f"val{n:06}.jpg {n}\n" for n in numbers],
    }
    order = -1 if is_shuffled else 1
    files = {f"info/{name}.txt": "".join(lines[::order]) for name, lines in lists.items()}
    images = [
        *(f"google/q{n:04}/a b{n}.jpg" for n in numbers),
        *(f"flickr/q{n:04}/{n}.jpg" for n in numbers),
        *(f"val_images_256/val{n:06}.jpg" for n in numbers),
    ]
    return Path(make(root, files, images))


def test_webvision_s_partitions_have_the_named_classes(tmp_path: Path, make: Any) -> None:
    root = make_web(tmp_path, make)
    labels = {}
    for partition in webvision.PARTITIONS:
        found = read_data_set("webvision", root, [f"partition={partition}"])
        rows = by_id(found).values()
        labels[partition] = [
            sorted(int(label) for label, split in rows if split == part)
            for part in ("train", "test")
        ]
        assert f"partition {partition} of the google images" in found.notes
    assert labels["all"] == [[0, 24, 25, 49, 50, 999]] * 2
    assert labels["mini"] == [[0, 24, 25, 49]] * 2
    assert labels["mini-disjoint"] == [[0, 24], [25, 49]]


def test_webvision_counts_what_is_known(tmp_path: Path, make: Any) -> None:
    root = make_web(tmp_path, make)
    assert wrong(read_data_set("webvision", root)) == {
        "train images": (980449, 6),
        "train classes": (1000, 6),
        "test images": (50000, 6),
        "test classes": (1000, 6),
    }
    mini = read_data_set("webvision", root, ["partition=mini"])
    assert wrong(mini)["test images"] == (2500, 4)
    both = read_data_set("webvision", root, ["partition=mini", "source=google+flickr"])
    assert len(both.manifest) == 12
    assert by_id(both)["val/val000049.jpg"] == ("49", "test")


def test_a_shuffled_list_has_the_same_content_by_id(tmp_path: Path, make: Any) -> None:
    found = read_data_set("webvision", make_web(tmp_path / "a", make), ["partition=mini"])
    root = make_web(tmp_path / "b", make, is_shuffled=True)
    shuffled = read_data_set("webvision", root, ["partition=mini"])
    assert shuffled.manifest.ids != found.manifest.ids
    assert by_id(shuffled) == by_id(found)
    assert shuffled.digest == found.digest
    (root / "info" / "val_filelist.txt").write_text("val000000.jpg 1\n")
    assert read_data_set("webvision", root, ["partition=mini"]).digest != found.digest


def test_an_unknown_partition_or_source_is_refused(tmp_path: Path, make: Any) -> None:
    root = make_web(tmp_path, make)
    with pytest.raises(InputError, match="partition of webvision is 'tiny': expected 'all' or"):
        read_data_set("webvision", root, ["partition=tiny"])
    with pytest.raises(InputError, match="unknown option of webvision 'parttion': did you mean"):
        read_data_set("webvision", root, ["parttion=mini"])
    (root / "info" / "train_filelist_flickr.txt").unlink()
    with pytest.raises(InputError, match="cannot read .*train_filelist_flickr.txt"):
        read_data_set("webvision", root, ["source=flickr"])


# Clothing1M


@pytest.mark.parametrize("folder", ["", "annotations/"])
@pytest.mark.parametrize("train", ["noisy", "clean"])
def test_clothing1m_tests_on_clean_labels(
    tmp_path: Path, make: Any, folder: str, train: str
) -> None:
    images = [f"images/{at % 2}/0{at}/1,{at}.jpg" for at in range(6)]
    keys = {"noisy_train": images[:2], "clean_train": images[1:3], "clean_val": images[3:4]}
    keys["clean_test"] = images[4:]
    files = {f"{name}_key_list.txt": "\n".join(each) for name, each in keys.items()}
    files["noisy_label_kv.txt"] = "".join(f"{name} 1\n" for name in images[:3])
    files["clean_label_kv.txt"] = "".join(f"{name} {at}\n" for at, name in enumerate(images) if at)
    files["category_names_eng.txt"] = "\n".join(["T-shirt", "Shirt", "Knitwear", "D", "E", "F"])
    make(tmp_path, {folder + name: text for name, text in files.items()}, images)
    found = read_data_set("clothing1m", tmp_path, [f"train={train}"])
    assert [(label, split) for label, split in by_id(found).values()] == [
        *(
            (("1", "train"), ("1", "train"))
            if train == "noisy"
            else (("1", "train"), ("2", "train"))
        ),
        ("3", "val"),
        ("4", "test"),
        ("5", "test"),
    ]
    assert found.extra["clean_label"][:2] == (["", "1"] if train == "noisy" else ["1", "2"])
    assert found.extra["class_name"][0] == "Shirt"
    assert found.manifest.true_labels is None
    assert wrong(found)["test images"] == (10526, 2)
    (tmp_path / f"{folder}clean_label_kv.txt").write_text(f"{images[1]} 1\n")
    with pytest.raises(InputError, match="has no label: a label file may be truncated"):
        read_data_set("clothing1m", tmp_path)
