"""Training that stops after an epoch, on the way to a later one."""

from __future__ import annotations

import pytest
import torch

from cache import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.training.learn import learn
from pipeline.training.protocol import split


def test_a_run_that_stops_early_is_as_the_whole_one_was_at_that_epoch(store: FeatureStore):
    features = store.read()
    values, roles = torch.from_numpy(features.values), split(features.rows)
    runs = [Settings(loss="contrastive", dim=8, epochs=4, seed=seed) for seed in range(2)]
    copies = []
    learn(values, features, roles, runs, keep=lambda copy: copies.append(copy()))
    stopped = learn(values, features, roles, runs, until=2)
    for number, run in enumerate(stopped):
        assert len(run.history["loss"]) == 2
        torch.testing.assert_close(run.head["weight"], copies[2][f"{number}/head/weight"])


@pytest.mark.parametrize("until", [None, 4, 9])
def test_training_ends_with_the_last_epoch_of_the_settings(store: FeatureStore, until: int | None):
    features = store.read()
    values, roles = torch.from_numpy(features.values), split(features.rows)
    runs = [Settings(loss="contrastive", dim=8, epochs=4)]
    (run,) = learn(values, features, roles, runs, until=until)
    assert len(run.history["loss"]) == 4
