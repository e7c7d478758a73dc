"""Feature files as other people have them: every layout, and every way to break one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from cache.errors import InputError
from cache.formats import CellError, _content, open_file

X = np.random.default_rng(0).standard_normal((40, 5)).astype("float32")
Y = np.arange(40) % 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_content, "_BLOCK_BYTES", 8 * 8 * 5)


def hdf5(**options: Any) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=X, **options)

    return save


def table(kind: pa.DataType, **options: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(
        pa.table({"features": pa.array(X.tolist(), kind)}), path, **options
    )


LAYOUTS: dict[str, Callable[[Path], Any]] = {
    "c.npy": lambda path: np.save(path, X),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(X)),
    "big-endian.npy": lambda path: np.save(path, X.astype(">f4")),
    "doubles.npy": lambda path: np.save(path, X.astype("float64")),
    "stored.npz": lambda path: np.savez(path, features=X),
    "packed.npz": lambda path: np.savez_compressed(path, features=X),
    "fortran.npz": lambda path: np.savez(path, features=np.asfortranarray(X)),
    "packed-fortran.npz": lambda path: np.savez_compressed(path, features=np.asfortranarray(X)),
    "big-endian.npz": lambda path: np.savez(path, features=X.astype(">f4")),
    "plain.h5": hdf5(),
    "big-endian.h5": hdf5(dtype=">f4"),
    "gzip.h5": hdf5(compression="gzip", chunks=(13, 2)),
    "shuffled.h5": hdf5(compression="lzf", shuffle=True, chunks=(40, 1)),
    "fixed.parquet": table(pa.list_(pa.float32(), 5)),
    "lists.parquet": table(pa.list_(pa.float32())),
    "large-lists.parquet": table(pa.large_list(pa.float32())),
    "groups.parquet": table(pa.list_(pa.float32()), row_group_size=9, compression="zstd"),
    "plain.safetensors": lambda path: save_file({"features": torch.from_numpy(X)}, path),
    "dict.pt": lambda path: torch.save({"features": torch.from_numpy(X)}, path),
    "alone.pt": lambda path: torch.save(torch.from_numpy(X), path),
    "turned.pt": lambda path: torch.save(torch.from_numpy(X.T.copy()).T, path),
    "gradient.pt": lambda path: torch.save(torch.from_numpy(X).requires_grad_(), path),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("start", [0, 17])
def test_features_are_read_from_every_layout(name: str, start: int, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path / name)
    with open_file(tmp_path / name) as source:
        blocks = [np.array(block) for block in source.blocks("features", start)]
        assert source.arrays["features"].shape == (40, 5)
    assert all(block.dtype.isnative for block in blocks)
    assert len(blocks) > 1 or name == "shuffled.h5"  # one chunk has all rows
    np.testing.assert_array_equal(np.concatenate(blocks), X[start:])


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_bfloat16_is_read(name: str, tmp_path: Path) -> None:
    values = torch.from_numpy(X).bfloat16()
    path = tmp_path / name
    save_file({"features": values}, path) if name.endswith("s") else torch.save(values, path)
    with open_file(path) as source:
        assert str(source.arrays["features"]) == "bfloat16 (40, 5)"
        found = np.concatenate(list(source.blocks("features")))
    np.testing.assert_array_equal(found.astype("float32"), values.float().numpy())


def save_labels(path: Path, values: Any) -> None:
    """Save a column as each format's own users would."""
    match path.suffix:
        case ".npz":
            np.savez(path, y=values)
        case ".h5":
            with h5py.File(path, "w") as file:
                is_text = np.asarray(values).dtype.kind == "U"
                file.create_dataset("y", data=values.tolist() if is_text else values)
        case ".parquet":
            pq.write_table(pa.table({"y": values}), path)
        case ".pt":
            torch.save({"y": list(values) if isinstance(values[0], str) else values}, path)


COLUMNS: dict[str, tuple[Any, list[str]]] = {
    "int64": (Y, [str(each) for each in Y]),
    "uint8": (Y.astype("uint8"), [str(each) for each in Y]),
    "big-endian": (Y.astype(">i4"), [str(each) for each in Y]),
    "bool": (Y > 1, [str(bool(each > 1)) for each in Y]),
    "whole-floats": (Y.astype("float32"), [str(each) for each in Y]),
    "texts": (np.array([f"Größe {each}" for each in Y]), [f"Größe {each}" for each in Y]),
    "bytes": (np.array([f"c{each}".encode() for each in Y]), [f"c{each}" for each in Y]),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_labels_of_every_kind_become_texts(kind: str, suffix: str, tmp_path: Path) -> None:
    values, expected = COLUMNS[kind]
    if suffix == ".parquet" and not values.dtype.isnative:
        pytest.skip("Arrow has no big-endian numbers")
    save_labels(tmp_path / f"y{suffix}", values)
    with open_file(tmp_path / f"y{suffix}") as source:
        assert source.texts("y") == expected


def test_labels_of_torch_and_dictionary_columns_become_texts(tmp_path: Path) -> None:
    torch.save({"y": torch.from_numpy(Y), "z": ["a", "b"], "n": [1, 2]}, tmp_path / "y.pt")
    with open_file(tmp_path / "y.pt") as source:
        assert source.texts("y") == [str(each) for each in Y]
        assert (source.texts("z"), source.texts("n")) == (["a", "b"], ["1", "2"])
    coded = pa.array(["a", None, "b"]).dictionary_encode()
    pq.write_table(pa.table({"y": coded}), tmp_path / "y.parquet")
    with open_file(tmp_path / "y.parquet") as source:
        assert source.texts("y") == ["a", "", "b"]


def test_lists_in_the_metadata_of_safetensors_are_columns(tmp_path: Path) -> None:
    metadata = {"ids": '["a", "b"]', "y": '["cat", "dog"]', "format": "pt", "made": "{}"}
    save_file({"y": torch.tensor([1, 0])}, tmp_path / "x.safetensors", metadata)
    with open_file(tmp_path / "x.safetensors") as source:
        assert set(source.arrays) == {"ids", "y"}
        assert (source.texts("ids"), source.texts("y")) == (["a", "b"], ["dog", "cat"])
    for numbers in ([2, 0], [-1, 0]):
        save_file({"y": torch.tensor(numbers)}, tmp_path / "x.safetensors", metadata)
        with (
            open_file(tmp_path / "x.safetensors") as source,
            pytest.raises(InputError, match="a number has no name in the metadata"),
        ):
            source.texts("y")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([1.5, 2.0]), "row 1 of y in .* is 1.5, expected a text or a whole number"),
        (np.array([1.0, np.nan]), "row 2 of y in .* is nan"),
        (np.array([b"ok", b"\xff\xfe"]), "row 2 of y in .*, expected text in UTF-8"),
        (np.array([1 + 2j]), r"y of .* is complex128 \(1,\), expected a text or a whole number"),
        (np.zeros((2, 2), int), r"y of .* is int64 \(2, 2\)"),
        (np.array([{"a": 1}, None], object), "holds Python objects, which could hide a program"),
    ],
)
def test_a_column_that_is_no_labels_is_refused(
    values: NDArray[Any], said: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "y.npz", y=values)
    with open_file(tmp_path / "y.npz") as source, pytest.raises(CellError, match=said):
        source.texts("y")


def test_a_torch_file_with_other_objects_is_refused_unopened(tmp_path: Path) -> None:
    torch.save({"features": X}, tmp_path / "x.pt")  # NumPy's arrays are pickled as objects
    with pytest.raises(InputError, match="x.pt holds Python objects, which could hide a program"):
        open_file(tmp_path / "x.pt").__enter__()
    torch.save([torch.zeros(2)], tmp_path / "x.pt")
    with pytest.raises(InputError, match="holds a list, expected a dict of tensors"):
        open_file(tmp_path / "x.pt").__enter__()


def test_lists_of_several_lengths_are_refused_with_their_row(tmp_path: Path) -> None:
    for rows, said in (
        ([[1.0, 2.0], [3.0]], "row 2 of x in .* is a list of 1 numbers, expected 2"),
        ([[1.0, 2.0], None], "row 2 of x in .* is no list, expected 2"),
    ):
        pq.write_table(pa.table({"x": rows}), tmp_path / "x.parquet")
        with open_file(tmp_path / "x.parquet") as source, pytest.raises(InputError, match=said):
            list(source.blocks("x"))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_file_that_was_cut_off_is_refused_in_one_line(
    name: str, share: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    LAYOUTS[name](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="cannot be read") as error, open_file(path) as source:
        list(source.blocks("features"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["stored.npz", "packed.npz"])
def test_a_changed_byte_in_a_zip_is_noticed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    LAYOUTS[name](path)
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"), open_file(path) as source:
        list(source.blocks("features"))


def test_a_missing_or_unknown_file_is_refused(tmp_path: Path) -> None:
    for name, said in (
        ("no.npz", "there is no file .*no.npz: expected "),
        ("x.xlsx", "x.xlsx is not a kind of file to read: expected .*.npz"),
    ):
        with pytest.raises(InputError, match=said):
            open_file(tmp_path / name).__enter__()
