"""Label overlays: made, read, described, exported and trained with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cache.errors import InputError
from pipeline.choices.settings import Settings
from pipeline.labels.overlays import default_path, describe, export_list, make_overlay
from pipeline.labels.training import training_labels
from pipeline.noise._overlay import read_overlay, write_overlay
from pipeline.training.protocol import split

NOISES = ["symmetric:0.3", "symmetric:1", "small-cluster:0.4", "pair-flip:0.2,mode=independent"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saved(store, noise, name="overlay.parquet", **options):
    overlay = make_overlay(store, noise, **options)
    write_overlay(Path(name), overlay)
    return overlay


@pytest.mark.parametrize("noise", NOISES)
def test_an_overlay_is_read_as_it_was_written(noise, store):
    overlay = saved(store, noise, seed=3)
    assert read_overlay(Path("overlay.parquet")) == overlay
    assert [path.name for path in Path().iterdir()] == ["overlay.parquet"]


@pytest.mark.parametrize("noise", NOISES)
def test_training_with_an_overlay_is_training_with_its_noise(noise, store):
    saved(store, noise, seed=3)
    features = store.read()
    roles = split(features.rows)
    drawn = training_labels(roles, Settings(noise=noise, seed=3), features)
    again = training_labels(roles, Settings(noise="file:overlay.parquet", seed=9), features)
    np.testing.assert_array_equal(again.used, drawn.used)
    np.testing.assert_array_equal(again.is_wrong, drawn.is_wrong)
    assert again.classes == drawn.classes
    assert (again.injected, again.nominal) == (drawn.injected, drawn.nominal)


def test_the_flipped_rows_are_those_whose_label_is_not_the_given_one(store):
    overlay = saved(store, "symmetric:0.3")
    table = pq.read_table("overlay.parquet")
    pairs = zip(table["label"].to_pylist(), table["given_label"].to_pylist(), strict=True)
    differs = [label != given for label, given in pairs]
    assert overlay.flipped() == np.flatnonzero(differs).tolist()
    facts = describe(overlay)
    assert [row["id"] for row in facts["flipped"]] == [
        row_id for row_id, flag in zip(overlay.ids, differs, strict=True) if flag
    ]
    assert facts["realised_rate"] == np.mean(differs)
    assert facts["nominal_rate"] == 0.3
    assert len(json.dumps(facts, allow_nan=False)) > 0


def test_the_same_noise_and_seed_give_the_same_file_and_another_seed_another(store):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        saved(store, "small-cluster:0.4", f"{name}.parquet", seed=seed)
    a, b, c = (Path(f"{name}.parquet").read_bytes() for name in "abc")
    assert a == b != c


def test_dissolved_and_new_classes_are_told(store):
    facts = describe(make_overlay(store, "small-cluster:0.4"))
    assert facts["given_classes"] - len(facts["classes_gone"]) == len(facts["classes"])
    assert facts["classes_new"] == []
    assert facts["most_frequent"][0]["rows"] >= facts["most_frequent"][-1]["rows"] > 0


def test_a_part_of_the_rows_may_train_with_the_overlay_of_all(store):
    overlay = saved(store, "symmetric:0.3")
    features = store.read()
    roles = split(features.rows)
    some = training_labels(
        replace(roles, train=roles.train[::2]),
        Settings(noise="file:overlay.parquet"),
        features,
    )
    assert [some.classes[number] for number in some.used] == list(overlay.labels[::2])


def test_an_exported_list_comes_back_through_import(store):
    overlay = make_overlay(store, "symmetric:0.3", seed=1)
    export_list(overlay, Path("list.csv"))
    lines = Path("list.csv").read_text().splitlines()
    assert lines[0] == f"{overlay.paths[0]},{overlay.labels[0]}"
    Path("shuffled.csv").write_text("".join(f"/data/{line}\n" for line in reversed(lines)))
    again = make_overlay(store, "file:shuffled.csv")
    assert (again.ids, again.labels, again.given) == (overlay.ids, overlay.labels, overlay.given)
    assert again.facts.noise == "file:shuffled.csv"
    assert again.facts.nominal_rate is None


def test_a_folder_of_the_source_is_not_written_into_the_overlay(store, tmp_path):
    export_list(make_overlay(store, "symmetric:0.3"), Path("list.csv"))
    spec = f"file:{tmp_path / 'list.csv'},cleaned={tmp_path / 'list.csv'},join=name"
    found = make_overlay(store, spec)
    assert found.facts.noise == "file:list.csv,cleaned=list.csv,join=name"


def test_the_default_path_names_noise_and_seed():
    names = {
        "symmetric:0.5": "symmetric-0.5-seed2",
        "small-cluster:0.25,single_pass=true": "small-cluster-0.25-single-pass-true-seed2",
        "file:/a b/list, x.csv": "file-list-x-seed2",
    }
    for noise, name in names.items():
        assert default_path(noise, 2) == Path("dml-out/noise") / f"{name}.parquet"


def test_a_class_name_with_a_comma_is_no_part_of_a_list(make_store, tmp_path):
    labels = [("a, b", "c")[row % 2] for row in range(288)]
    store = make_store(tmp_path / "s.zarr", labels)
    with pytest.raises(InputError, match="class 'a, b' holds a comma or a line break"):
        export_list(make_overlay(store, "symmetric:0.3"), Path("list.csv"))
    assert not Path("list.csv").exists()


def test_nothing_is_overwritten(store):
    overlay = saved(store, "symmetric:0.3")
    for write in (
        lambda path: write_overlay(path, overlay),
        lambda path: export_list(overlay, path),
    ):
        before = Path("overlay.parquet").read_bytes()
        with pytest.raises(InputError, match="overlay.parquet exists: choose another file"):
            write(Path("overlay.parquet"))
        assert Path("overlay.parquet").read_bytes() == before


def train_with(store, name="overlay.parquet", protocol=None):
    features = store.read()
    settings = Settings(noise=f"file:{name}")
    return training_labels(split(features.rows, protocol), settings, features)


def test_an_overlay_of_another_manifest_is_refused_with_both_digests(store, make_store, tmp_path):
    saved(store, "symmetric:0.3")
    other = make_store(
        tmp_path / "o.zarr", ["a", "b"] * 20, ["train", "train", "test", "test"] * 10
    )
    digests = [each.fingerprint.rows_digest[:12] for each in (store, other)]
    with pytest.raises(InputError, match=f"it is of {digests[0]}, the store of {digests[1]}"):
        train_with(other)


def test_an_overlay_of_other_labels_is_refused(store, make_store, tmp_path):
    saved(store, "symmetric:0.3")
    other = make_store(tmp_path / "o.zarr", ["1", *(str(row % 12) for row in range(1, 288))])
    with pytest.raises(InputError, match="'0000.jpg' was given '0', now it is '1'; make it again"):
        train_with(other)


def test_an_overlay_of_other_training_rows_is_refused(store):
    saved(store, "symmetric:0.3", protocol="class-disjoint")
    with pytest.raises(InputError, match="has no row .* made with --protocol class-disjoint"):
        train_with(store)


def test_a_damaged_or_newer_overlay_is_refused(store):
    saved(store, "symmetric:0.3")
    with pytest.raises(InputError, match="takes no further options"):
        train_with(store, "overlay.parquet,numbering=one")
    table = pq.read_table("overlay.parquet")
    facts = json.loads(table.schema.metadata[b"dml.overlay"])
    for name, text, said in (
        ("newer", json.dumps({**facts, "format": 2}), "has format 2, this version of dml knows"),
        ("less", json.dumps({"format": 1}), "is damaged: make it again"),
        ("worse", "{", "is damaged: make it again"),
    ):
        pq.write_table(table.replace_schema_metadata({"dml.overlay": text}), f"{name}.parquet")
        with pytest.raises(InputError, match=said):
            read_overlay(Path(f"{name}.parquet"))
    pq.write_table(table.replace_schema_metadata({}), "plain.parquet")
    with pytest.raises(InputError, match="is no label overlay: make one with"):
        read_overlay(Path("plain.parquet"))
    with pytest.raises(InputError, match="there is no label overlay at nowhere.parquet"):
        read_overlay(Path("nowhere.parquet"))
