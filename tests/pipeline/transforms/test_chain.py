"""How transforms are written: read, written again, taken apart, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache.errors import InputError
from pipeline.choices.grid import canonical, plan
from pipeline.choices.settings import Settings
from pipeline.transforms.chain import Chain, split_chains


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("centre", Chain()),
        ("power:0.5,centre", Chain(power=0.5)),
        ("power:.50, standardise", Chain(power=0.5, is_standardised=True)),
        ("centre,whiten:0", Chain(whiten=0.0)),
        ("centre,whiten:ledoit-wolf", Chain(whiten="ledoit-wolf")),
        ("power:1,centre,whiten:0.25,pca:256", Chain(power=1.0, whiten=0.25, pca=256)),
    ],
)
def test_a_chain_is_read_and_written_again(text: str, expected: Chain) -> None:
    assert Chain.parse(text) == expected
    assert Chain.parse(str(expected)) == expected


MISTAKES = {
    "": "'' is no step",
    "none": "'none' is no step",
    "centre,,pca:3": "'' is no step",
    "center": "'center' is no step",
    "whiten:0.2": "it has neither centre nor standardise",
    "pca:8,centre": "its steps are not in this order, each once",
    "centre,standardise": "its steps are not in this order, each once",
    "centre,pca:8,pca:8": "its steps are not in this order, each once",
    "centre:2": "centre and standardise take no value",
    "power:0,centre": "power:0 is not above 0 and at most 1",
    "power:half,centre": "power:half is not above 0 and at most 1",
    "power,centre": "power: is not above 0 and at most 1",
    "centre,whiten": "whiten: is neither from 0 to 1 nor ledoit-wolf",
    "centre,whiten:1.5": "whiten:1.5 is neither from 0 to 1 nor ledoit-wolf",
    "centre,whiten:nan": "whiten:nan is neither from 0 to 1 nor ledoit-wolf",
    "centre,pca:0": "pca:0 is no whole number of at least 1",
    "centre,pca:2.5": "pca:2.5 is no whole number of at least 1",
    "centre,pca:" + "9" * 5000: "is no whole number of at least 1",
}


@pytest.mark.parametrize(("text", "reason"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistyped_chain_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        Settings(loss="contrastive", transform=text).check()
    assert reason in str(refused.value)
    assert "for example power:0.5,centre,whiten:0.2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_more_directions_than_features_are_refused() -> None:
    chain = Chain.parse("centre,pca:25")
    assert (chain.width(25), Chain().width(24)) == (25, 24)
    with pytest.raises(InputError, match=r"keeps 25 directions of 24 features: expected pca:K"):
        chain.width(24)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("centre", ["centre"]),
        ("centre,power:0.5,centre", ["centre", "power:0.5,centre"]),
        ("power:0.5,centre,whiten:0.2,centre", ["power:0.5,centre,whiten:0.2", "centre"]),
        ("centre, standardise,pca:3", ["centre", "standardise,pca:3"]),
        ("centre,whiten:0.2,centre,whiten:0.5", ["centre,whiten:0.2", "centre,whiten:0.5"]),
    ],
)
def test_lists_of_chains_are_taken_apart(text: str, expected: list[str]) -> None:
    assert split_chains(text) == expected


def test_transforms_are_an_axis_of_an_ablation() -> None:
    changes = ["transform=centre,power:0.5,centre,pca:8", "dim=8"]
    cells = plan(Settings(), loss="contrastive", changes=changes)
    assert [cell.settings.transform for cell in cells] == ["centre", "power:0.5,centre,pca:8"]
    assert [cell.options for cell in cells] == [
        "transform=centre",
        "transform=power:0.5,centre,pca:8",
    ]
    with pytest.raises(InputError, match="are the same cell"):
        plan(Settings(), loss="contrastive", changes=["transform=power:0.5,centre,power:.5,centre"])


def test_runs_of_versions_that_only_centred_are_found_again() -> None:
    plain = Settings(loss="contrastive")
    assert "transform" not in canonical(plain)
    assert canonical(plain) == canonical(plain.replaced(transform="centre"))
    assert canonical(plain.replaced(transform="power:.5,centre"))["transform"] == "power:0.5,centre"


def test_runs_of_one_program_have_one_transform() -> None:
    plain = Settings(loss="contrastive")
    same = [plain.replaced(transform=text).shared for text in (None, "centre")]
    assert same[0] == same[1]
    assert plain.replaced(transform="standardise").shared != same[0]


def test_the_command_refuses_a_chain_before_it_looks_for_a_store(
    tmp_path: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ("train --transform white", "train --set transform=white", "ablate --transform x"):
        assert "is no step" in dml(f"{words} --loss contrastive").refusal()


def test_the_command_refuses_more_directions_than_the_store_has_features(
    home: Path, dml: Any
) -> None:
    for command in ("train --loss contrastive", "ablate --loss contrastive"):
        refusal = dml(f"{command} --transform centre,pca:25").refusal()
        assert "keeps 25 directions of 24 features" in refusal
    assert not (home / "dml-out" / "runs").exists()
