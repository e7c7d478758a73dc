"""Groups of duplicates among rows that are known to be copies, near copies, chains or strangers."""

from __future__ import annotations

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.measures.duplicates import EVIDENCE, find_duplicates

FILE, EQUAL, HASH, COSINE = EVIDENCE


def on_a_circle(*degrees: float) -> np.ndarray:
    """Rows at chosen angles: their cosines are known."""
    angles = np.radians(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def different(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, width), np.uint8)


def test_files_that_are_equal_make_a_group_whatever_their_features():
    files = different(5, 32)
    files[3] = files[4] = files[1]
    found = find_duplicates(on_a_circle(0, 90, 180, 270, 300), files=files)
    assert [group.rows.tolist() for group in found.groups] == [[1, 3, 4]]
    assert found.groups[0].evidence == ((FILE,),) * 3
    assert found.groups[0].smallest == pytest.approx(-1)
    assert found.recall is None


def test_features_that_are_equal_make_a_group_but_zeros_do_not():
    values = on_a_circle(0, 90, 0, 180, 270, 0)
    values[3:5] = 0
    found = find_duplicates(values)
    assert [group.rows.tolist() for group in found.groups] == [[0, 2, 5]]
    assert found.groups[0].evidence[0][0] == EQUAL
    assert found.groups[0].smallest == pytest.approx(1)


def test_the_threshold_is_the_smallest_cosine_that_links():
    values = on_a_circle(0, 10, 100, 115)
    groups = find_duplicates(values, threshold=np.cos(np.radians(12))).groups
    assert [group.rows.tolist() for group in groups] == [[0, 1]]
    assert groups[0].evidence == ((COSINE,), (COSINE,))
    assert groups[0].smallest == pytest.approx(np.cos(np.radians(10)))
    assert len(find_duplicates(values, threshold=np.cos(np.radians(16))).groups) == 2


def test_a_chain_is_one_group_that_tells_how_far_apart_its_ends_are():
    values = on_a_circle(0, 10, 20, 30, 200)
    (group,) = find_duplicates(values, threshold=np.cos(np.radians(11))).groups
    assert group.rows.tolist() == [0, 1, 2, 3]
    assert group.smallest == pytest.approx(np.cos(np.radians(30)))
    assert group.closest[[0, 3]].tolist() == [1, 2]
    np.testing.assert_allclose(group.cosines, np.cos(np.radians(10)), atol=1e-6)


def test_alike_hashes_need_features_that_are_not_strangers():
    hashes = different(4, 8)
    hashes[1] = hashes[0] ^ np.array([1, 0, 0, 0, 0, 0, 1, 0], np.uint8)
    hashes[3] = hashes[2]
    found = find_duplicates(on_a_circle(0, 40, 100, 170), hashes=hashes)
    assert [group.rows.tolist() for group in found.groups] == [[0, 1]]
    assert found.groups[0].evidence == ((HASH,), (HASH,))


def test_flat_pictures_are_counted_and_their_hashes_link_nothing():
    hashes = different(4, 8)
    hashes[1:3] = 0
    found = find_duplicates(on_a_circle(0, 40, 80, 120), hashes=hashes)
    assert found.groups == []
    assert found.flat == 2


def test_all_kinds_of_evidence_are_told_for_each_row():
    files, hashes = different(4, 32), different(4, 8)
    files[1], hashes[1] = files[0], hashes[0]
    values = on_a_circle(0, 0, 5, 90)
    (group,) = find_duplicates(values, files=files, hashes=hashes, threshold=0.99).groups
    assert group.rows.tolist() == [0, 1, 2]
    assert group.evidence == (EVIDENCE, EVIDENCE, (COSINE,))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_faiss_makes_the_groups_of_the_exact_search(dtype):
    generator = np.random.default_rng(0)
    values = generator.standard_normal((2000, 32))
    values[1500:] = values[:500] + 0.05 * generator.standard_normal((500, 32))
    values[1000:1010] = values[0]
    exact, approximate = (
        find_duplicates(values.astype(dtype), exact_work=work) for work in (10**12, 1)
    )
    assert exact.recall is None
    assert approximate.recall is not None
    expected, found = (
        {tuple(group.rows.tolist()) for group in each.groups} for each in (exact, approximate)
    )
    assert len(expected) == 500
    assert len(found & expected) >= 490


@pytest.mark.parametrize("threshold", [0, -0.5, 1.1, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold):
    with pytest.raises(InputError, match="expected a cosine above 0 and up to 1"):
        find_duplicates(on_a_circle(0, 1), threshold=threshold)


def test_a_threshold_of_one_finds_what_points_the_same_way():
    assert len(find_duplicates(on_a_circle(0, 0, 1), threshold=1).groups) == 1


def test_one_row_has_no_duplicates():
    assert find_duplicates(on_a_circle(0)).groups == []
