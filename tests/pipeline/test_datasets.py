"""Reading folders and tables of labelled images, good and bad ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache.errors import InputError
from pipeline.datasets import load_manifest
from pipeline.datasets.manifest import make_manifest


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write_csv(folder: Path, text: str) -> Path:
    touch(folder, "a.jpg", "b.jpg")
    file = folder / "table.csv"
    file.write_text(text, encoding="utf-8")
    return file


# --- folders


def test_class_folders_give_sorted_rows_with_posix_ids(tmp_path: Path) -> None:
    touch(tmp_path, "dog/2.JPG", "dog/1.png", "cat/deep/er/1.webp", "cat/notes.txt")
    touch(tmp_path, "cat/._1.jpg", ".cache/x.jpg", "dog/.hidden/y.jpg")
    manifest = load_manifest(tmp_path)
    assert manifest.ids == ("cat/deep/er/1.webp", "dog/1.png", "dog/2.JPG")
    assert manifest.labels == ("cat", "dog", "dog")
    assert manifest.paths == manifest.ids
    assert manifest.root == tmp_path
    assert manifest.splits is None


def test_split_folders_give_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/1.jpg", "train/cat/1.jpg", "test/cat/2.jpg", ".git/x")
    manifest = load_manifest(tmp_path)
    assert manifest.splits == ("test", "train", "train")
    assert manifest.labels == ("cat", "cat", "dog")
    assert manifest.ids[0] == "test/cat/2.jpg"


def test_a_class_named_like_a_split_beside_others_is_a_class(tmp_path: Path) -> None:
    manifest = load_manifest(touch(tmp_path, "train/1.jpg", "bus/1.jpg"))
    assert manifest.labels == ("bus", "train")


def test_unicode_class_names_survive(tmp_path: Path) -> None:
    manifest = load_manifest(touch(tmp_path, "Äpfel/ä b.jpg", "苹果/1.jpg"))
    assert set(manifest.labels) == {"Äpfel", "苹果"}


def test_links_are_followed_and_loops_survived(tmp_path: Path) -> None:
    touch(tmp_path, "data/cat/1.jpg", "data/dog/1.jpg", "elsewhere/1.jpg")
    (tmp_path / "data/cat/loop").symlink_to(tmp_path / "data")
    (tmp_path / "data/owl").symlink_to(tmp_path / "elsewhere")
    manifest = load_manifest(tmp_path / "data")
    assert manifest.ids == ("cat/1.jpg", "dog/1.jpg", "owl/1.jpg")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no images"),
        (["cat/readme.txt"], "holds no images"),
        (["cat/1.jpg", "stray.jpg"], "stray.jpg .* lies in no class folder"),
        (["1.jpg", "2.jpg"], "lies in no class folder"),
        (["train/1.jpg", "test/cat/1.jpg"], "train/1.jpg .* lies in no class folder"),
        (["cat/1.jpg", "cat/2.jpg"], "all 2 images have the label 'cat'"),
    ],
)
def test_an_unusable_folder_is_refused_in_one_line(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(touch(tmp_path, *names))
    assert "\n" not in str(caught.value)


# --- tables


def test_a_csv_with_all_columns_is_read_as_texts(tmp_path: Path) -> None:
    file = write_csv(
        tmp_path,
        "\ufeffid,path,label,split,superlabel,true_label,colour\r\n"
        '1,a.jpg,007,train,fruit,8,red\r\n2,"b.jpg","9, or so",test,fruit,9,\r\n\r\n',
    )
    manifest = load_manifest(file)
    assert manifest.ids == ("1", "2")
    assert manifest.paths == ("a.jpg", "b.jpg")
    assert manifest.labels == ("007", "9, or so")
    assert manifest.splits == ("train", "test")
    assert manifest.superlabels == ("fruit", "fruit")
    assert manifest.true_labels == ("8", "9")
    assert manifest.root == tmp_path


def test_without_an_id_column_the_path_is_the_id(tmp_path: Path) -> None:
    manifest = load_manifest(write_csv(tmp_path, "path,label\na.jpg,1\nb.jpg,2\n"))
    assert manifest.ids == ("a.jpg", "b.jpg")
    assert manifest.splits is None


def test_a_parquet_table_with_integer_labels_equals_the_csv(tmp_path: Path) -> None:
    csv = load_manifest(write_csv(tmp_path, "path,label,split\na.jpg,1,train\nb.jpg,2,test\n"))
    split = pa.array(["train", "test"]).dictionary_encode()
    table = pa.table({"path": ["a.jpg", "b.jpg"], "label": [1, 2], "split": split, "x": [[1], []]})
    pq.write_table(table, tmp_path / "table.parquet")
    assert load_manifest(tmp_path / "table.parquet") == csv


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'"),
        ("path,label\n", "no rows"),
        ("path,Label\na.jpg,1\n", "no column 'label', its columns are 'path', 'Label': rename"),
        ("file,label\na.jpg,1\n", "no column 'path', its columns are 'file', 'label'$"),
        ("path,label\na.jpg,1\nb.jpg,\n", "row 2 has an empty label"),
        ("path,label\na.jpg,1\na.jpg,2\n", "the id 'a.jpg' occurs 2 times"),
        ("path,label\na.jpg,1\nb.jpg,1\n", "nothing to tell apart"),
        ("path,label\na.jpg,1\nb.jpg,2,3\n", "row 2 .* has 3 cells, expected 2"),
        ("path,label,split\na.jpg,1,train\nb.jpg,2,dev\n", "row 2 has the split 'dev'"),
        ("path,label\nx/a.jpg,1\nx/b.jpg,2\n", "none of the first 2 images .* exists.*x/a.jpg"),
    ],
)
def test_an_unusable_csv_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(write_csv(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_some_missing_images_are_no_error_yet(tmp_path: Path) -> None:
    assert len(load_manifest(write_csv(tmp_path, "path,label\na.jpg,1\ngone.jpg,2\n"))) == 2


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = write_csv(tmp_path, "")
    file.write_bytes("path,label\na.jpg,\xc4pfel\n".encode("latin-1"))
    with pytest.raises(InputError, match="not a UTF-8 table"):
        load_manifest(file)


@pytest.mark.parametrize(
    "columns", [{"path": ["a.jpg", "b.jpg"], "label": [1, None]}, {"path": ["a.jpg"]}]
)
def test_an_unusable_parquet_table_is_refused(
    tmp_path: Path, columns: dict[str, list[object]]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    with pytest.raises(InputError, match="label"):
        load_manifest(tmp_path / "table.parquet")


def test_labels_that_are_lists_are_refused(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.jpg", "b.jpg"], "label": [[1], [2]]})
    pq.write_table(table, tmp_path / "table.parquet")
    with pytest.raises(InputError, match="texts or numbers"):
        load_manifest(tmp_path / "table.parquet")


def test_a_damaged_parquet_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_text("no table")
    with pytest.raises(InputError, match="not a Parquet table"):
        load_manifest(tmp_path / "table.parquet")


@pytest.mark.parametrize("name", ["gone", "gone.csv", "notes.txt"])
def test_another_source_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"\.csv or"):
        load_manifest(tmp_path / name)


# --- manifests


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'label' has 1 rows, but 'id' has 2"):
        make_manifest(ids=["a", "b"], paths=["a", "b"], labels=["x"], root=tmp_path)


def test_importing_the_datasets_costs_no_torch() -> None:
    code = "import sys, pipeline.datasets; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
