"""Decisions applied: labels, versions, a second reviewer, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cache.errors import InputError
from pipeline.audit.applying import apply, default_path, describe
from pipeline.audit.decisions import Decision
from pipeline.labels.corrected_file import digest_of, read_corrected, write_corrected, write_table
from pipeline.labels.overlays import make_overlay
from pipeline.noise._overlay import write_overlay

NOW = "2026-01-02T03:04:05+00:00"
FIRST = [
    Decision("0000.jpg", "relabel", "5", "clear"),
    Decision("0001.jpg", "drop"),
    Decision("0002.jpg", "keep"),
]
SECOND = [Decision("0000.jpg", "keep"), Decision("0001.jpg", "drop"), Decision("0003.jpg", "drop")]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def applied(store, decisions, **options):
    part = {each.id: each for each in decisions}
    return apply(store, [part], sources=["d.csv"], created=NOW, **options)


def saved(store, decisions, name="v1.parquet", **options):
    found = applied(store, decisions, **options).corrected
    write_corrected(Path(name), found)
    return found


def test_decisions_change_what_they_say_and_nothing_else(store):
    found = applied(store, FIRST).corrected
    before = tuple(store.rows["label"].to_pylist())
    assert found.given == found.of_manifest == before
    assert found.labels == ("5", *before[1:])
    assert found.decisions == ("relabel", "drop", "keep", *[""] * (len(before) - 3))
    assert found.notes[0] == "clear"
    assert found.counts() == {"keep": 1, "relabel": 1, "drop": 1}


def test_corrected_labels_are_read_as_they_were_written(store):
    found = saved(store, FIRST)
    assert read_corrected(Path("v1.parquet")) == found
    assert [path.name for path in Path().iterdir()] == ["v1.parquet"]
    with pytest.raises(InputError, match=r"v1.parquet exists: choose another file"):
        write_corrected(Path("v1.parquet"), found)


def test_a_second_reviewer_goes_on_and_is_told_where_they_differ(store):
    first = saved(store, FIRST)
    found, conflicts = applied(store, SECOND, onto=Path("v1.parquet"))
    assert [(each.id, str(each.earlier), str(each.later)) for each in conflicts] == [
        ("0000.jpg", "relabel 5", "keep")
    ]
    assert found.labels == first.given  # what the first relabelled is kept after all
    assert found.decisions[:4] == ("keep", "drop", "keep", "drop")
    assert (found.version, first.version) == (2, 1)
    one, two = found.facts.history
    assert (one.parent, two.parent) == (None, digest_of(Path("v1.parquet")))
    assert (two.keep, two.relabel, two.drop, two.overruled) == (1, 0, 2, 1)
    assert read_corrected(Path("v1.parquet")) == first  # the earlier version stays as it is


def test_two_reviewers_at_once_are_one_version(store):
    parts = [{each.id: each for each in part} for part in (FIRST, SECOND)]
    found, conflicts = apply(store, parts, sources=["a.csv", "b.csv"], created=NOW)
    assert (found.version, found.facts.history[0].sources) == (1, ("a.csv", "b.csv"))
    assert [each.id for each in conflicts] == ["0000.jpg"]
    assert found.labels == found.given


def test_the_labels_of_a_noise_can_be_corrected(store):
    noise = make_overlay(store, "symmetric:0.5", seed=1)
    write_overlay(Path("noise.parquet"), noise)
    found = applied(store, FIRST[1:], onto=Path("noise.parquet")).corrected
    rows = len(noise.labels)
    assert found.given[:rows] == noise.labels != noise.given == found.of_manifest[:rows]
    assert found.given[rows:] == found.of_manifest[rows:]  # rows that do not train
    assert found.facts.noise == "symmetric:0.5 seed 1"


def test_a_class_that_nobody_has_needs_a_word(store):
    strange = [Decision("0000.jpg", "relabel", "<script>")]
    with pytest.raises(InputError, match="'0000.jpg' is the class '<script>', which no picture"):
        applied(store, strange)
    found = applied(store, strange, new_classes=True).corrected
    assert found.labels[0] == "<script>"
    assert describe(found)["classes_new"] == ["<script>"]
    near = [Decision("0000.jpg", "relabel", "111")]
    with pytest.raises(InputError, match="did you mean '11'. If not, --new-classes"):
        applied(store, near)


def test_spaces_around_a_label_do_not_count(store):
    assert applied(store, [Decision("0000.jpg", "relabel", " 5 ")]).corrected.labels[0] == "5"


def test_unknown_pictures_are_refused(store):
    strange = [*FIRST, Decision("x.jpg", "keep"), Decision("y.jpg", "drop")]
    with pytest.raises(InputError, match="2 of 5 decisions are about pictures .* 'x.jpg'"):
        applied(store, strange)


def test_what_is_gone_on_from_has_to_be_of_this_store(store, make_store, tmp_path):
    saved(store, FIRST)
    write_overlay(Path("noise.parquet"), make_overlay(store, "symmetric:0.5"))
    labels = ["1", *(str(row % 12) for row in range(1, 288))]
    renamed = make_store(tmp_path / "r.zarr", labels)
    smaller = make_store(tmp_path / "s.zarr", ["a", "b"] * 20, ["train", "test"] * 20)
    for onto in ("v1.parquet", "noise.parquet"):
        with pytest.raises(InputError, match="of other labels: '0000.jpg' was"):
            applied(renamed, FIRST, onto=Path(onto))
        with pytest.raises(InputError, match="of another manifest: "):
            applied(smaller, [], onto=Path(onto))


def test_other_newer_and_damaged_files_are_refused(store):
    saved(store, FIRST)
    table = pq.read_table("v1.parquet")
    facts = json.loads(table.schema.metadata[b"dml.labels"])
    for text, said in (
        (json.dumps({**facts, "format": 2}), "have format 2, this version of dml knows"),
        (json.dumps({"format": 1}), "are damaged: make them again"),
        ("{", "are damaged: make them again"),
    ):
        pq.write_table(table.replace_schema_metadata({"dml.labels": text}), "bad.parquet")
        with pytest.raises(InputError, match=said):
            read_corrected(Path("bad.parquet"))
    pq.write_table(table.replace_schema_metadata({}), "plain.parquet")
    with pytest.raises(InputError, match="plain.parquet holds no corrected labels"):
        read_corrected(Path("plain.parquet"))
    write_overlay(Path("noise.parquet"), make_overlay(store, "symmetric:0.5"))
    with pytest.raises(InputError, match="is an overlay of dml noise: train with --noise file:"):
        read_corrected(Path("noise.parquet"))
    with pytest.raises(InputError, match="there are no corrected labels at nowhere"):
        read_corrected(Path("nowhere"))


def test_every_row_is_in_the_exported_table(store):
    found = saved(store, FIRST)
    write_table(Path("all.csv"), found)
    lines = Path("all.csv").read_text().splitlines()
    assert lines[:4] == [
        "id,path,label,given_label,decision,note",
        "0000.jpg,0000.jpg,5,0,relabel,clear",
        "0001.jpg,0001.jpg,1,1,drop,",
        "0002.jpg,0002.jpg,2,2,keep,",
    ]
    assert len(lines) == 1 + len(found.ids)


def test_a_description_is_plain_json_and_counts_what_changed(store):
    saved(store, FIRST)
    facts = describe(applied(store, SECOND, onto=Path("v1.parquet")).corrected)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["labels_changed"] == 0
    assert [row["id"] for row in facts["decided"]] == [f"000{row}.jpg" for row in range(4)]
    assert [step["version"] for step in facts["history"]] == [1, 2]


def test_the_default_path_is_a_free_one():
    assert default_path(2) == Path("dml-out/labels/v2.parquet")
    default_path(2).parent.mkdir(parents=True)
    default_path(2).write_text("")
    assert default_path(2) == Path("dml-out/labels/v2-2.parquet")
