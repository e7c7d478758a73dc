"""Labels from files: published lists with their quirks, human labels, tables with ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cache.errors import InputError
from pipeline.labels.corruption import NoiseSpec


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def apply(text, subject):
    return NoiseSpec.parse(f"file:{text}").apply(subject, 0)


def names_of(found):
    return np.array(found.classes)[found.labels].tolist()


def noisy_names(subject, spec="symmetric:0.4"):
    found = NoiseSpec.parse(spec).apply(subject, 5)
    return names_of(found), found


def write(name, subject, labels, *, prefix="/data/set/", order=None):
    """Write lines path,label of the rows in an order."""
    rows = range(len(labels)) if order is None else order
    text = "".join(f"{prefix}{subject.paths[row]},{labels[row]}\n" for row in rows)
    Path(name).write_text(text)


def shuffled(subject):
    return np.random.default_rng(1).permutation(len(subject.labels)).tolist()


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("numbering", ["auto", "given"])
def test_a_list_in_another_order_with_other_prefixes_gives_the_same_labels(
    base, numbering, subject
):
    expected, found = noisy_names(subject)
    write("list.csv", subject, found.labels + base, order=shuffled(subject))
    rest = "" if numbering == "auto" else f",numbering={['zero', 'one'][base]}"
    again = apply(f"list.csv{rest}", subject)
    assert names_of(again) == expected
    assert again.classes == subject.classes


def test_a_label_that_no_class_has_becomes_a_class_of_its_own(make_subject):
    subject = make_subject([58] * 100)
    expected, found = noisy_names(subject, "symmetric:0.2,mode=independent")
    labels = found.labels + 1
    strange = np.random.default_rng(2).choice(len(labels), 6, replace=False)
    labels[strange] = 101
    write("cub.csv", subject, labels, order=shuffled(subject))
    again = apply("cub.csv", subject)
    assert again.classes == (*subject.classes, "list:101")
    assert [row for row, name in enumerate(names_of(again)) if name == "list:101"] == sorted(
        strange
    )
    kept = np.setdiff1d(np.arange(len(labels)), strange)
    assert [names_of(again)[row] for row in kept] == [expected[row] for row in kept]


def test_classes_without_rows_are_gone_and_the_others_numbered_densely(make_subject):
    subject = make_subject([3] * 60)
    expected, found = noisy_names(subject, "symmetric:0.5,mode=independent")
    write("sop.csv", subject, found.labels + 1)
    again = apply("sop.csv,numbering=one", subject)
    assert names_of(again) == expected
    assert len(again.classes) == len(set(expected)) < 60  # some classes lost all three rows
    assert set(again.labels.tolist()) == set(range(len(again.classes)))


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_small_cluster_lists_are_matched_to_the_surviving_classes(rate, make_subject):
    subject = make_subject([60] * 40)
    expected, found = noisy_names(subject, f"small-cluster:{rate}")
    write("sc.csv", subject, found.labels, order=shuffled(subject))
    again = apply("sc.csv", subject)
    assert names_of(again) == expected
    assert again.classes == found.classes


def test_the_cleaned_list_decides_which_labels_are_right_in_classes_of_two(make_subject):
    subject = make_subject([2, 3, 4] * 40)
    expected, found = noisy_names(subject, "small-cluster:0.5")
    write("sc.csv", subject, found.labels, order=shuffled(subject))
    given = np.array(subject.classes)[subject.labels]
    right = [row for row, name in enumerate(expected) if name == given[row]]
    write("cleaned.csv", subject, found.labels, order=right, prefix="/other/")
    assert names_of(apply("sc.csv,cleaned=cleaned.csv", subject)) == expected


def test_names_in_a_list_are_names(subject):
    expected, _ = noisy_names(subject)
    write("names.csv", subject, expected, order=shuffled(subject))
    assert names_of(apply("names.csv", subject)) == expected


def test_a_list_made_elsewhere_may_have_longer_or_shorter_paths(subject):
    expected, _ = noisy_names(subject)
    short = tuple(path.removeprefix("images/") for path in subject.paths)
    write("short.csv", subject._replace(paths=short), expected, prefix="./")
    assert names_of(apply("short.csv", subject)) == expected
    windows = tuple(path.replace("/", "\\") for path in subject.paths)
    write("windows.csv", subject._replace(paths=windows), expected, prefix="D:\\data\\")
    assert names_of(apply("windows.csv", subject)) == expected


def test_file_names_alone_join_where_that_is_asked_for(subject):
    expected, _ = noisy_names(subject)
    other = tuple(f"elsewhere/{Path(path).name}" for path in subject.paths)
    write("flat.csv", subject._replace(paths=other), expected)
    with pytest.raises(InputError, match="125 of 125 training rows are not in flat.csv.*join=name"):
        apply("flat.csv", subject)
    assert names_of(apply("flat.csv,join=name", subject)) == expected


def test_lines_with_one_space_instead_of_a_comma_are_read(subject):
    plain = tuple(path.replace(", ", "_") for path in subject.paths)
    subject = subject._replace(paths=plain)
    lines = [f"{path} {label}\n" for path, label in zip(plain, subject.labels + 1, strict=True)]
    Path("list.txt").write_text("".join(lines))
    np.testing.assert_array_equal(apply("list.txt", subject).labels, subject.labels)


def test_rows_of_other_sets_in_a_list_are_left_aside(subject):
    write("list.csv", subject, subject.labels + 1)
    with Path("list.csv").open("a") as file:
        file.write("/data/other/set/x.jpg,3\n")
    np.testing.assert_array_equal(apply("list.csv", subject).labels, subject.labels)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_ids_is_joined_by_id_and_its_labels_are_names(kind, make_subject):
    subject = make_subject([12] * 6, names=[str(number) for number in range(6)])
    expected, _ = noisy_names(subject, "symmetric:1")  # not one row agrees
    order = shuffled(subject)
    ids, labels = [subject.ids[row] for row in order], [expected[row] for row in order]
    if kind == "csv":
        lines = [f"{key},{label}\n" for key, label in zip(ids, labels, strict=True)]
        Path("t.csv").write_text("id,label\n" + "".join(lines))
    else:
        pq.write_table(pa.table({"id": ids, "label": list(map(int, labels))}), "t.parquet")
    assert names_of(apply(f"t.{kind}", subject)) == expected


def human_labels(subject, order=None):
    """Arrays as CIFAR-N has them: right labels by numbers of its own, and worse ones."""
    own = np.random.default_rng(3).permutation(10)
    noisy, found = noisy_names(subject)
    rows = slice(None) if order is None else order
    arrays = {"clean_label": own[subject.labels][rows], "worse_label": own[found.labels][rows]}
    return noisy, arrays


@pytest.mark.parametrize("kind", ["pt", "npy"])
def test_human_labels_are_taken_by_key_and_numbered_by_the_right_labels_beside(kind, subject):
    expected, arrays = human_labels(subject)
    if kind == "pt":
        torch.save(arrays, "human.pt")
    else:
        np.save("human.npy", arrays, allow_pickle=True)
    assert names_of(apply(f"human.{kind},key=worse_label", subject)) == expected
    with pytest.raises(InputError, match="holds the arrays clean_label, worse_label and which one"):
        apply(f"human.{kind}", subject)
    with pytest.raises(InputError, match="none of them is 'worst'"):
        apply(f"human.{kind},key=worst", subject)


def test_a_plain_array_goes_by_the_order_of_the_rows(subject):
    np.save("labels.npy", subject.labels + 1)
    np.testing.assert_array_equal(apply("labels.npy", subject).labels, subject.labels)
    torch.save(torch.from_numpy(subject.labels), "labels.pt")
    np.testing.assert_array_equal(apply("labels.pt", subject).labels, subject.labels)


def test_human_labels_in_another_order_are_noticed(subject):
    _, arrays = human_labels(subject, shuffled(subject))
    torch.save(arrays, "human.pt")
    with pytest.raises(InputError, match="its rows are in another order"):
        apply("human.pt,key=worse_label", subject)


class Danger:
    def __reduce__(self):
        return Path.touch, (Path("was-run"),)


@pytest.mark.parametrize("kind", ["pt", "npy"])
def test_code_in_a_pickle_is_not_run(kind, subject):
    if kind == "pt":
        torch.save(Danger(), "bad.pt")
    else:
        np.save("bad.npy", np.array(Danger(), dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as arrays of labels") as caught:
        apply(f"bad.{kind}", subject)
    assert "\n" not in str(caught.value)
    assert not Path("was-run").exists()


def refused(subject):
    write("twice.csv", subject, [*subject.labels], order=[*range(len(subject.labels)), 3])
    write("part.csv", subject, subject.labels, order=range(100))
    write("wild.csv", subject, shuffled(subject))
    Path("words.csv").write_text("no label here,\n")
    Path("bytes.csv").write_bytes(b"\xff\xfe\x00")
    Path("same.csv").write_text("a.jpg,1\n")
    pq.write_table(pa.table({"id": ["a"], "class": ["b"]}), "columns.parquet")
    Path("text.parquet").write_text("no table")
    np.save("few.npy", subject.labels[:7])
    np.save("wide.npy", np.zeros((125, 2)))


REFUSED = {
    "nowhere.csv": "there is no label list nowhere.csv",
    "twice.csv": "lists the row '.*' twice: expected each row once",
    "part.csv": "25 of 125 training rows are not in part.csv, for example '.*': give the list",
    "wild.csv": "rows agree with wild.csv about classes: say what its labels are",
    "words.csv": "line 1 of words.csv is 'no label here,': expected path,label",
    "bytes.csv": "is not a UTF-8 list of lines path,label",
    "twice.csv,key=a": "has no keys: leave key=a out",
    "names.csv,numbering=one": "has the label 'cat', which is no number",
    "columns.parquet": "has no column 'label', its columns are 'id', 'class'",
    "text.parquet": "is not a Parquet table of texts or numbers",
    "few.npy": "holds 7 labels in the order of the rows and there are 125 training rows",
    "few.npy,key=a": "holds one array and no keys: leave key=a out",
    "wide.npy": "an array of 2 dimensions and type float64: expected one whole number",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_list_that_cannot_be_used_is_refused_in_one_line(text, subject):
    refused(subject)
    write("names.csv", subject, ["cat"] * 125)
    with pytest.raises(InputError, match=REFUSED[text]) as caught:
        apply(text, subject)
    assert "\n" not in str(caught.value)


def test_a_path_that_could_be_two_rows_is_refused(subject):
    rest = subject.paths[2:]
    subject = subject._replace(paths=("a/x.jpg", "b/x.jpg", *rest))
    Path("list.csv").write_text("x.jpg,1\n")
    with pytest.raises(InputError, match="'x.jpg' of list.csv could be several rows"):
        apply("list.csv", subject)
