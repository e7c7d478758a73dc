"""How far features may be from those in a store: equal, rounded otherwise, or others."""

from __future__ import annotations

import numpy as np
import pytest

from cache.encoding import decode, dtype_when_read, encode
from pipeline.measures.closeness import compare_features

DTYPES = ["float32", "float16", "bfloat16", "int8"]
PRECISIONS = {"float32": 2.0**-24, "bfloat16": 2.0**-9}


def features(rows: int = 50) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 64)).astype(np.float32)


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    read = np.empty(values.shape, dtype_when_read(dtype))
    decode(encode(values, dtype), dtype, read)
    return read


def moved(values: np.ndarray, share: float) -> np.ndarray:
    """Each row, `share` of its length away from where it was."""
    step = np.random.default_rng(1).standard_normal(values.shape)
    step *= (
        share
        * np.linalg.norm(values, axis=1, keepdims=True)
        / (np.linalg.norm(step, axis=1, keepdims=True))
    )
    return (values + step).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_features_are_equal_bit_for_bit_in_every_dtype(dtype, precision):
    values = features()
    found = compare_features(values, stored(values, dtype), dtype=dtype, precision=precision)
    assert (found.rows, found.equal, found.difference) == (50, 50, 0)
    assert found.cosine == pytest.approx(1)
    assert not found.is_far.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_thirty_roundings_of_the_network_explain_passes(dtype, precision):
    values = features()
    now = moved(values, 30 * PRECISIONS[precision])
    found = compare_features(now, stored(values, dtype), dtype=dtype, precision=precision)
    assert not found.is_far.any()
    assert found.equal < 50 or dtype != "float32"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_rounding_does_not_explain_is_far(dtype, precision):
    values = features()
    allowed = compare_features(
        values, stored(values, dtype), dtype=dtype, precision=precision
    ).allowed
    now = values.copy()
    now[7] = moved(values, 2.5 * allowed)[7]
    found = compare_features(now, stored(values, dtype), dtype=dtype, precision=precision)
    assert np.flatnonzero(found.is_far).tolist() == [7]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_other_images_are_far_whatever_the_precision(dtype):
    values = features()
    now = np.roll(values, 1, axis=0)
    found = compare_features(now, stored(values, dtype), dtype=dtype, precision="bfloat16")
    assert found.is_far.all()
    assert found.equal == 0
    assert found.cosine < 0.5


def test_not_a_number_is_far_and_rows_of_zeros_are_not():
    values = features(3)
    values[1] = 0
    now = values.copy()
    now[2, 0] = np.nan
    found = compare_features(now, values, dtype="float32", precision="float32")
    assert found.is_far.tolist() == [False, False, True]
