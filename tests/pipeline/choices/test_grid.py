"""The grid of an ablation: every combination once, in a stable order, checked beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from cache.errors import InputError
from pipeline.choices.grid import canonical, plan
from pipeline.choices.settings import Settings


def names(**lists: Any) -> list[str]:
    return [str(cell) for cell in plan(Settings(epochs=1), **lists)]


def test_lists_are_multiplied_in_their_order():
    assert names(loss="prism,contrastive", noise="0,symmetric:0.5") == [
        "prism with noise 0",
        "prism with noise symmetric:0.5",
        "contrastive with noise 0",
        "contrastive with noise symmetric:0.5",
    ]


def test_several_options_form_the_product_and_only_varied_ones_are_named():
    changes = ["loss.margin=0.1,0.2", "lr=0.001,0.002", "proxy_lr=0.5"]
    cells = plan(Settings(), loss="proxy-anchor", changes=changes)
    assert [cell.options for cell in cells] == [
        "loss.margin=0.1 lr=0.001",
        "loss.margin=0.1 lr=0.002",
        "loss.margin=0.2 lr=0.001",
        "loss.margin=0.2 lr=0.002",
    ]
    assert cells[2].settings.options == {"loss.margin": 0.2}
    assert {cell.settings.proxy_lr for cell in cells} == {0.5}


def test_a_selection_is_named_beside_the_loss_or_in_a_list_of_its_own():
    alone = plan(Settings(), loss="contrastive+prism")
    (_, beside) = plan(Settings(), loss="contrastive", select="none,prism")
    assert alone == [beside]
    assert beside.settings.recipe.selection == "prism"


def test_what_cells_share_reaches_every_cell():
    cells = plan(Settings(epochs=7, validation="rows"), loss="prism,triplet")
    assert {(cell.settings.epochs, cell.settings.validation) for cell in cells} == {(7, "rows")}


def test_a_comma_inside_a_noise_spec_belongs_to_it():
    noise = "symmetric:0.2,mode=independent,0,symmetric:0.5"
    found = [cell.settings.noise for cell in plan(Settings(), loss="prism", noise=noise)]
    assert found == ["symmetric:0.2,mode=independent", None, "symmetric:0.5"]


def test_both_protocols_can_be_asked_for():
    cells = plan(Settings(), loss="prism", protocol="query-gallery,class-disjoint")
    assert [cell.settings.protocol for cell in cells] == ["query-gallery", "class-disjoint"]


def test_equal_runs_are_equal_however_they_were_written():
    first = Settings(loss="prism", seed=1, noise="symmetric:0.5")
    second = Settings(loss="prism", selection="prism", seed=2, noise="symmetric:0.50")
    assert canonical(first) == canonical(second)
    assert canonical(first) != canonical(Settings(loss="prism"))


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"loss": "prism,prsim"}, "unknown loss 'prsim': did you mean 'prism'?"),
        ({"loss": "prism,"}, "--loss 'prism,': expected names separated by commas"),
        ({"loss": "prism,prism"}, "prism is asked for twice"),
        ({"loss": "prism,prism+prism"}, "prism with noise 0 and prism\\+prism with noise 0 are"),
        ({"loss": "prism", "noise": "0,symetric:0.2"}, "did you mean 'symmetric'"),
        ({"loss": "prism", "noise": "symmetric:0.2,symmetric:0.20"}, "are the same cell"),
        ({"loss": "prism", "noise": "symmetric:0.2,0.5"}, "'0.5' is not of the form key=value"),
        ({"loss": "prism", "select": "none,prims"}, "did you mean 'prism'"),
        ({"loss": "prism+none", "select": "none"}, "names a selection already"),
        ({"loss": "contrastive+"}, "unknown selection ''"),
        ({"loss": "prism", "protocol": "zero"}, "protocol is 'zero': expected"),
        ({"loss": "prism", "changes": ["lr"]}, "--set 'lr': expected key=value"),
        ({"loss": "prism", "changes": ["lr=1,,2"]}, "--set lr '1,,2': expected names"),
        ({"loss": "prism", "changes": ["lr=1", "lr=2"]}, "--set lr is given twice"),
        ({"loss": "prism", "changes": ["lr=0.1,1e-1"]}, "are the same cell"),
        ({"loss": "prism", "changes": ["seed=1,2"]}, "--set 'seed=1,2': use --seeds for this"),
        ({"loss": "prism", "changes": ["loss.margn=1"]}, "option of memory-contrastive 'margn'"),
    ],
)
def test_what_does_not_fit_is_refused(lists: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        plan(Settings(), **lists)
