"""Number formats of features: what is stored, what comes back, and how far off that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray

from cache import FeatureStore, InputError
from cache.encoding import decode, dtype_when_read, encode
from cache.fingerprint import FEATURE_DTYPES


def there_and_back(values: NDArray[np.floating], dtype: str) -> NDArray[np.floating]:
    out = np.empty(values.shape, dtype_when_read(dtype))
    decode(encode(values, dtype), dtype, out)
    return out


@pytest.fixture
def values() -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    return (generator.standard_normal((50, 33)) * 10 ** generator.uniform(-3, 3, (50, 1))).astype(
        "float32"
    )


def test_float32_is_exact(values: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(there_and_back(values, "float32"), values)


def test_bfloat16_is_rounded_as_torch_rounds(values: NDArray[np.float32]) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(there_and_back(values, "bfloat16"), expected)


def test_int8_is_off_by_at_most_half_a_step_of_its_row(values: NDArray[np.float32]) -> None:
    found = there_and_back(values, "int8")
    for row, (exact, read) in enumerate(zip(values, found, strict=True)):
        step = max(abs(float(value)) for value in exact) / 127
        for one, other in zip(exact, read, strict=True):
            assert abs(float(one) - float(other)) <= step / 2 * (1 + 1e-5), row


def test_int8_keeps_the_largest_value_and_zeros(values: NDArray[np.float32]) -> None:
    values[:, 0] = 0
    values[7] = 0
    found = there_and_back(values, "int8")
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_array_equal(found[7], 0)
    np.testing.assert_allclose(np.abs(found).max(1), np.abs(values).max(1), rtol=1e-6)


@pytest.mark.parametrize("dtype", FEATURE_DTYPES)
def test_a_store_gives_back_what_the_encoding_says(example: Any, dtype: str) -> None:
    example.facts["dtype"] = dtype
    example.dtype = "float32"
    store = example.write(unreadable={5: "gone"})
    expected = np.delete(there_and_back(example.values, dtype), 5, axis=0)
    on_disk = store.on_disk()
    assert on_disk.dtype == dtype_when_read(dtype)
    np.testing.assert_array_equal(store.read().values, expected)
    np.testing.assert_array_equal(on_disk.take(np.array([0, 4, 5, 8])), expected[[0, 4, 5, 8]])
    np.testing.assert_array_equal(np.concatenate([part for _, part in on_disk.chunks()]), expected)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("dtype", "large"), [("float16", 1e5), ("float32", 1e39), ("bfloat16", 3.4e38), ("int8", 1e39)]
)
def test_values_that_do_not_fit_are_refused(example: Any, dtype: str, large: float) -> None:
    example.facts["dtype"] = dtype
    for bad in (large, np.nan, -np.inf):
        values = example.values[:4].astype("float64")
        values[2, 3] = bad
        with example.writer() as writer, pytest.raises(InputError, match=f"row 2 .*{dtype}"):
            writer.write(0, values, {})


def test_other_zarr_readers_can_decode_int8(example: Any) -> None:
    example.facts["dtype"] = "int8"
    store = example.write()
    whole, scale = (
        zarr.open_array(example.path / name, mode="r")[:] for name in ("features", "features-scale")
    )
    decoded: Any = np.asarray(whole) * np.asarray(scale)
    np.testing.assert_array_equal(decoded, store.read().values)


@pytest.mark.parametrize("array", ["features", "features-scale"])
def test_damage_of_either_array_of_int8_is_found(example: Any, array: str) -> None:
    example.facts["dtype"] = "int8"
    store = example.write()
    file = example.path / array / "c" / "1" / "0"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    assert [number for number, _ in store.verify()] == [1]
    assert FeatureStore.open(example.path).is_complete
