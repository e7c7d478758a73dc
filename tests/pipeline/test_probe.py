"""Whose pairs a loss listens to: by hand, and over a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cache import FeatureStore
from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.recipes import TRAINED
from pipeline.choices.settings import Settings
from pipeline.measures.pair_share import Tap, amounts
from pipeline.probe import probe
from pipeline.program.batch import Batch
from pipeline.program.memory import Memory

NAMES = dict.fromkeys([*TRAINED, *catalogue.entries("losses")])
METHODS = [name for name in NAMES if Settings(loss=name).recipe.loss]
FAST = {"smooth-proxy-anchor": {"select.hidden": 16, "select.epochs": 2}}


def batch_of(labels: list[int], rows: list[int], memory: Memory | None = None) -> Batch:
    count = len(labels)
    return Batch(
        torch.eye(count), torch.tensor(labels), torch.tensor(rows), torch.ones(count), memory
    )


# Rows 0..3 of given classes 0, 0, 1, 1; row 1 is truly of class 1.
GIVEN, TRUE = [0, 0, 1, 1], torch.tensor([0, 1, 1, 1])


def test_pair_weights_of_a_batch_are_sorted_into_right_and_wrong():
    weights = torch.arange(16.0).view(4, 4)
    found = amounts("batch", weights, batch_of(GIVEN, [0, 1, 2, 3]), TRUE, torch.ones(4).bool())
    # Positives (0,1) and (2,3), both ways: only the first is wrong. Negatives: 1 with 2 and 3 are.
    assert (found.pull, found.wrong_pull) == (1 + 4 + 11 + 14, 1 + 4)
    assert (found.push, found.wrong_push) == (2 + 3 + 6 + 7 + 8 + 9 + 12 + 13, 6 + 7 + 9 + 13)
    assert (found.positives, found.wrong_positives) == (4, 2)
    assert (found.negatives, found.wrong_negatives) == (8, 4)


def test_absent_rows_and_a_row_with_itself_are_no_pairs():
    weights = torch.ones(4, 4)
    present = torch.tensor([True, True, True, False])
    found = amounts("batch", weights, batch_of(GIVEN, [0, 1, 2, 2]), TRUE, present)
    assert (found.positives, found.negatives) == (2, 4)


def test_pairs_with_a_memory_leave_out_empty_slots_and_the_row_itself():
    memory = Memory(
        torch.zeros(3, 4), torch.tensor([0, 1, 1]), torch.tensor([0, 3, -1]), torch.ones(3), None
    )
    weights = torch.ones(4, 3)
    batch = batch_of(GIVEN, [0, 1, 2, 3], memory)
    found = amounts("memory", weights, batch, TRUE, torch.ones(4).bool())
    assert (found.positives, found.wrong_positives) == (2, 1)  # (1, 0) wrong, (2, 3) right
    assert (found.negatives, found.wrong_negatives) == (4, 1)  # (1, 3)


def test_a_row_and_a_proxy_are_a_pair():
    weights = torch.ones(4, 2)
    found = amounts("proxies", weights, batch_of(GIVEN, [0, 1, 2, 3]), TRUE, torch.ones(4).bool())
    assert (found.pull, found.wrong_pull) == (4, 1)
    assert (found.push, found.wrong_push) == (4, 1)
    assert (found.positives, found.wrong_positives) == (4, 1)


def test_the_tap_reads_the_gradient_by_the_cosines():
    tap = Tap()
    cosines = tap("batch", torch.tensor([[0.5, -2.0]]))
    ((kind, weights),) = tap.weights((cosines**2).sum())
    assert kind == "batch"
    torch.testing.assert_close(weights, torch.tensor([[1.0, 4.0]]))


@pytest.mark.parametrize("loss", METHODS)
def test_every_method_can_be_probed(loss: str, store: FeatureStore):
    options = FAST.get(loss, {})
    known = catalogue.find("selection", Settings(loss=loss).recipe.selection).options
    options |= {f"select.{name}": 0.3 for name, option in known.items() if option.is_required}
    settings = Settings(loss=loss, dim=8, epochs=2, noise="symmetric:0.4", options=options)
    found = probe(store, settings, points=2, batches=4)
    assert [moment.epoch for moment in found] == [0, 2]
    for moment in found:
        # 0.6^2 of the pairs of one label are right, and by chance some of the others.
        assert moment.wrong_positives is not None
        assert 0.3 < moment.wrong_positives < 0.75
        for share in (moment.wrong_pull, moment.wrong_push):
            assert share is None or 0 <= share <= 1
    assert any(moment.wrong_pull is not None for moment in found)


def test_prism_pulls_less_on_wrong_pairs_than_the_loss_without_it(store: FeatureStore):
    trusting, doubting = (
        probe(
            store,
            Settings(loss=loss, dim=16, epochs=6, noise="symmetric:0.4"),
            points=2,
        )[-1].wrong_pull
        for loss in ("memory-contrastive", "prism")
    )
    assert doubting < trusting / 2


def test_probing_repeats_the_training_without_disturbing_it(store: FeatureStore):
    settings = Settings(loss="contrastive", dim=8, epochs=4, noise="symmetric:0.4")
    coarse = probe(store, settings, points=2)
    fine = probe(store, settings, points=5)
    assert [coarse[0], coarse[-1]] == [fine[0], fine[-1]]


def test_right_labels_have_nothing_to_probe(store: FeatureStore):
    with pytest.raises(InputError, match="not known which labels are wrong"):
        probe(store, Settings(loss="contrastive", epochs=1))


def test_the_command_prints_a_table_and_json(dml: Any, home: Path):
    assert dml("train --loss contrastive --noise symmetric:0.4 --epochs 2 --dim 8").code == 0
    answer = dml("probe --points 3")
    assert answer.code == 0
    assert "wrong pairs" in answer.out
    answer = dml("probe --points 3 --json")
    assert [moment["epoch"] for moment in answer.json()["moments"]] == [0, 1, 2]


@pytest.mark.parametrize("points", ["1", "0", "-3"])
def test_fewer_than_two_points_are_refused(dml: Any, home: Path, points: str):
    answer = dml("probe --points", points)
    assert (answer.code, answer.out) == (2, "")
    assert "--points" in answer.err
