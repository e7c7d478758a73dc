"""Corrected labels in training: which rows get them, what is taken for true, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.audit.applying import apply
from pipeline.audit.decisions import Decision
from pipeline.choices.settings import Settings
from pipeline.labels.corrected import corrected, correction_facts
from pipeline.labels.corrected_file import digest_of, write_corrected
from pipeline.labels.overlays import make_overlay
from pipeline.labels.training import training_labels
from pipeline.noise._overlay import write_overlay
from pipeline.training.protocol import split

SPLITS = ["train"] * 180 + ["val"] * 12 + ["test"] * 96


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def decide(store, decisions, name="v.parquet", **options):
    part = {key: Decision(key, *rest) for key, *rest in decisions}
    write_corrected(
        Path(name), apply(store, [part], sources=["d"], created="now", **options).corrected
    )
    return name


def roles_of(store, name, protocol=None):
    features = store.read()
    before = split(features.rows, protocol)
    return before, corrected(before, name, features.rows, features.manifest)


def names_of(roles, rows):
    return [roles.classes[number] for number in roles.given[rows]]


def by_hand(store, before, decisions):
    """The same by a loop over the rows."""
    decided = {key: (verdict, *label) for key, verdict, *label in decisions}
    train, labels = [], []
    for row in before.train.tolist():
        each = store.rows.slice(row, 1).to_pylist()[0]
        verdict, *label = decided.get(each["id"], ("keep",))
        if verdict != "drop":
            train.append(row)
            labels.append(label[0] if verdict == "relabel" else each["label"])
    return train, labels


DECISIONS = [
    ("0000.jpg", "relabel", "7"),
    ("0005.jpg", "drop"),
    ("0006.jpg", "keep"),
    ("0007.jpg", "relabel", "new"),
    ("0200.jpg", "relabel", "3"),  # a test row
    ("0201.jpg", "drop"),
]


@pytest.mark.parametrize("protocol", ["query-gallery", "class-disjoint"])
def test_training_rows_have_corrected_labels_and_dropped_ones_do_not_train(protocol, store):
    name = decide(store, DECISIONS, new_classes=True)
    before, after = roles_of(store, name, protocol)
    train, labels = by_hand(store, before, DECISIONS)
    assert after.train.tolist() == train
    assert names_of(after, after.train) == labels
    assert 0 in train
    assert 5 not in train


def test_queries_and_gallery_keep_the_labels_of_the_store(store):
    name = decide(store, DECISIONS, new_classes=True)
    before, after = roles_of(store, name)
    for role in ("query", "gallery"):
        np.testing.assert_array_equal(getattr(after, role), getattr(before, role))
    np.testing.assert_array_equal(after.true[after.query], before.true[before.query])
    assert 201 in after.query


def test_validation_rows_are_corrected_too(make_store, tmp_path):
    store = make_store(tmp_path / "s.zarr", splits=SPLITS)
    name = decide(store, [("0180.jpg", "relabel", "7"), ("0181.jpg", "drop")])
    before, after = roles_of(store, name)
    assert after.val.tolist() == [180, *range(182, 192)]
    assert names_of(after, after.val[:1]) == ["7"]
    assert names_of(before, before.val[:1]) == ["0"]


def test_without_corrected_labels_nothing_changes(store):
    before, after = roles_of(store, None)
    assert after is before


def labels_of(store, settings):
    features = store.read()
    roles = corrected(split(features.rows), settings.labels, features.rows, features.manifest)
    return training_labels(roles, settings, features)


def test_noise_comes_on_top_of_the_corrected_labels(store):
    name = decide(store, DECISIONS[:3])
    found = labels_of(store, Settings(labels=name, noise="symmetric:0.3"))
    clean = labels_of(store, Settings(labels=name))
    assert clean.is_wrong is None  # nobody knows what is right
    names = [found.classes[number] for number in found.used]
    expected = [clean.classes[number] for number in clean.used]
    assert found.is_wrong.tolist() == [a != b for a, b in zip(names, expected, strict=True)]
    assert found.injected == np.mean(found.is_wrong) > 0


def test_true_labels_of_the_manifest_still_say_what_is_wrong(make_store, tmp_path):
    """Rows 0 to 9 are wrong; row 0 is corrected, row 20 made wrong; row 30 has no true label."""
    true = [str(row % 12) for row in range(288)]
    labels = ["11" if row < 10 else name for row, name in enumerate(true)]
    true[30] = ""
    store = make_store(tmp_path / "s.zarr", labels, true_labels=true, drawn_for=labels)
    rows = (("0000.jpg", "relabel", "0"), ("0020.jpg", "relabel", "0"), ("0030.jpg", "drop"))
    found = labels_of(store, Settings(labels=decide(store, rows)))
    assert np.flatnonzero(found.is_wrong).tolist() == [*range(1, 10), 20]
    again = (("0030.jpg", "relabel", "0"),)
    found = labels_of(store, Settings(labels=decide(store, again, "w.parquet")))
    assert not found.is_wrong[30]


def test_what_is_left_of_a_noise_is_known_to_be_wrong(store):
    noise = make_overlay(store, "symmetric:0.3")
    write_overlay(Path("noise.parquet"), noise)
    flipped = noise.flipped()
    right = [(noise.ids[row], "relabel", noise.given[row]) for row in flipped[:-4]]
    name = decide(store, [*right, (noise.ids[flipped[-1]], "drop")], onto=Path("noise.parquet"))
    found = labels_of(store, Settings(labels=name))
    assert len(found.used) == len(noise.ids) - 1
    assert np.flatnonzero(found.is_wrong).tolist() == flipped[-4:-1]


def test_the_facts_count_what_changes_for_the_training_rows(store):
    name = decide(store, DECISIONS, new_classes=True)
    features = store.read()
    facts = correction_facts(split(features.rows), name, features.rows, features.manifest)
    assert facts == {
        "path": name,
        "file": str(Path(name).absolute()),
        "sha256": digest_of(Path(name)),
        "version": 1,
        "decisions": {"keep": 1, "relabel": 3, "drop": 2},
        "corrected": 2,
        "dropped": 1,
    }


def test_corrected_labels_of_another_store_are_refused(store, make_store, tmp_path):
    name = decide(store, DECISIONS[:3])
    other = make_store(
        tmp_path / "o.zarr", ["a", "b"] * 20, ["train", "train", "test", "test"] * 10
    )
    with pytest.raises(InputError, match=r"v.parquet are of another manifest: they are of"):
        roles_of(other, name)
    renamed = make_store(tmp_path / "r.zarr", ["1", *(str(row % 12) for row in range(1, 288))])
    with pytest.raises(InputError, match="'0000.jpg' was '0' in the store, now it is '1'"):
        roles_of(renamed, name)


def test_a_correction_that_leaves_nothing_to_train_is_refused(store):
    rows = [(f"{row:04}.jpg", "drop") for row in range(192) if row % 12]
    with pytest.raises(InputError, match="leave 16 training rows of 1 classes: at least 2"):
        roles_of(store, decide(store, rows))


def test_corrected_labels_are_no_noise(store):
    name = decide(store, DECISIONS[:3])
    with pytest.raises(InputError, match=f"which are no noise: train with --labels {name}"):
        labels_of(store, Settings(noise=f"file:{name}"))


def test_a_file_of_a_noise_and_a_correction_exclude_each_other_only_where_they_differ(store):
    write_overlay(Path("noise.parquet"), make_overlay(store, "symmetric:0.3"))
    settings = Settings(labels=decide(store, [("0006.jpg", "keep")]), noise="file:noise.parquet")
    assert labels_of(store, settings).injected == pytest.approx(0.3, abs=0.01)
    changed = replace(settings, labels=decide(store, DECISIONS[:1], "w.parquet"))
    with pytest.raises(InputError, match="'0000.jpg' was given '0', now it is '7'"):
        labels_of(store, changed)
