"""Which rows train, which search, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from cache.errors import InputError
from pipeline.training.protocol import Split, split


def rows(
    labels: str, splits: Sequence[str] | None = None, true_labels: str | None = None
) -> pa.Table:
    """A table from words; splits are given by their first letter, `g` is gallery, `q` query."""
    names = {"t": "train", "e": "test", "q": "query", "g": "gallery", "v": "val"}
    columns = {"label": labels.split()}
    if splits is not None:
        columns["split"] = [names[letter] for letter in splits]
    if true_labels is not None:
        columns["true_label"] = true_labels.split()
    return pa.table(columns)


def roles(found: Split) -> tuple[list[int], list[int], list[int]]:
    return found.train.tolist(), found.query.tolist(), found.gallery.tolist()


def test_test_rows_search_the_training_rows():
    found = split(rows("a b a b", "ttee"))
    assert found.protocol == "query-gallery"
    assert roles(found) == ([0, 1], [2, 3], [0, 1])
    assert found.own_rows is None


def test_query_rows_search_the_gallery_rows_where_there_are_any():
    found = split(rows("a b c d c d", "ttqqgg"))
    assert found.protocol == "query-gallery"
    assert roles(found) == ([0, 1], [2, 3], [4, 5])


def test_validation_rows_take_no_part():
    assert roles(split(rows("a b a a", "ttve"))) == ([0, 1], [3], [0, 1])


def test_test_rows_of_new_classes_search_among_themselves():
    found = split(rows("a b c c d d", "tteeee"))
    assert found.protocol == "class-disjoint"
    assert roles(found) == ([0, 1], [2, 3, 4, 5], [2, 3, 4, 5])
    assert found.own_rows.tolist() == [0, 1, 2, 3]


def test_query_gallery_holds_as_soon_as_one_test_class_is_known():
    assert split(rows("a b a c", "ttee")).protocol == "query-gallery"


def test_without_splits_the_first_half_of_the_classes_trains():
    found = split(rows("d a c b d c b a"))
    assert found.protocol == "class-disjoint"
    assert roles(found) == ([1, 3, 6, 7], [0, 2, 4, 5], [0, 2, 4, 5])
    assert found.own_rows.tolist() == [0, 1, 2, 3]


def test_an_odd_number_of_classes_leaves_the_larger_half_to_the_test():
    assert roles(split(rows("a b c c d d e e")))[0] == [0, 1]


def test_whole_numbers_sort_by_value_and_before_words():
    found = split(rows("10 9 2 1 x 10 9 x"))
    assert found.classes == ("1", "2", "9", "10", "x")
    assert roles(found)[0] == [2, 3]


def test_class_disjoint_can_be_asked_for_in_spite_of_splits():
    found = split(rows("a b a b c c d d", "tteetete"), "class-disjoint")
    assert roles(found) == ([0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7])


def test_true_labels_are_kept_apart_from_the_given_ones():
    found = split(rows("a b b b", "ttee", true_labels="a b a b"))
    assert [found.classes[label] for label in found.given] == ["a", "b", "b", "b"]
    assert [found.classes[label] for label in found.true] == ["a", "b", "a", "b"]


def test_classes_are_divided_by_the_true_labels():
    found = split(rows("a b a b c c d d", true_labels="a b b a d c d c"))
    assert roles(found)[0] == [0, 1, 2, 3]


def test_a_class_that_only_true_labels_name_is_a_class_too():
    found = split(rows("a b a b", "ttee", true_labels="a b c b"))
    assert found.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("table", "protocol", "said"),
    [
        (rows("a b a b"), "query-gallery", "needs a split column .* use --protocol class-disjoint"),
        (rows("a a a b", "ttee"), None, "2 training rows of 1 classes .* at least 2 classes"),
        (rows("a b", "ee"), None, "0 training rows of 0 classes"),
        (rows("a b a b", "tttt"), None, "no rows to evaluate: the split column has no test"),
        (rows("a b a b", "ttvv"), None, "no rows to evaluate"),
        (rows("a b c d", "ttee"), None, "none of the 2 test rows has another row of its class"),
        (rows("a b c d", "ttqg"), "query-gallery", "none of the 1 test rows"),
        (rows("a a b b"), None, "2 training rows of 1 classes under protocol class-disjoint"),
        (rows("a b c d"), None, "none of the 2 test rows has another row of its class"),
    ],
)
def test_what_cannot_be_trained_or_measured_is_refused(table, protocol, said):
    with pytest.raises(InputError, match=said) as refused:
        split(table, protocol)
    assert "\n" not in str(refused.value)
