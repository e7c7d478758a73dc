"""Settings: what they refuse, how they are written down and read back, what recipes decide."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest

from cache.errors import InputError
from pipeline.choices.recipes import RECIPES, recipe
from pipeline.choices.settings import Settings

NAMES = [each.name for each in fields(Settings) if each.name != "options"]


def test_the_defaults_pass():
    assert Settings().check() == Settings()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_passes_with_what_it_requires(name):
    options = {"select.noise_rate": 0.3} if name == "prism-parity" else {}
    Settings(loss=name, options=options).check()


def test_settings_come_back_from_their_file(tmp_path):
    settings = Settings(loss="proxy-anchor", noise="symmetric:0.5", options={"loss.margin": 0.2})
    settings.save(tmp_path)
    assert Settings.load(tmp_path) == Settings.load(tmp_path / "config.json") == settings


def test_a_file_may_leave_out_what_stays_at_its_default(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    assert Settings.load(tmp_path) == Settings(seed=3)


def test_changes_apply_in_order_to_fields_and_options():
    changes = ["lr=1e-3", "loss.margin=0.2", "select.noise_rate=auto", "lr=0.01", "noise=symmetric"]
    found = Settings().with_changes(changes)
    assert (found.lr, found.noise) == (0.01, "symmetric")
    assert found.options == {"loss.margin": 0.2, "select.noise_rate": "auto"}


def test_options_of_a_recipe_give_way_to_the_user_s():
    settings = Settings(loss="prism-parity", options={"select.noise_rate": 0.3})
    assert settings.options_of("loss") == {"divisor": "batch"}
    assert settings.options_of("select") == {"noise_rate": 0.3}
    changed = settings.with_changes(["loss.divisor=kept"])
    assert changed.options_of("loss") == {"divisor": "kept"}


def test_another_selection_replaces_the_recipe_s():
    settings = Settings(loss="smooth-proxy-anchor", selection="prism")
    assert settings.recipe.loss == "smooth-proxy-anchor"
    assert settings.recipe.selection == "prism"


def test_a_loss_without_a_recipe_goes_with_no_selection():
    assert (recipe("contrastive").loss, recipe("contrastive").selection) == ("contrastive", "none")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [True, [1], {"a": 1}])
def test_no_field_takes_a_value_that_is_neither_number_nor_word(name, value):
    with pytest.raises(InputError, match=rf"^{name} is .*: expected "):
        Settings(**{name: value}).check()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 10**400])
@pytest.mark.parametrize("name", ["lr", "proxy_lr", "weight_decay", "seed", "epochs", "dim"])
def test_no_number_is_negative_infinite_or_beyond_all_floats(name, value):
    with pytest.raises(InputError, match=rf"^{name} is "):
        Settings(**{name: value}).check()


@pytest.mark.parametrize("name", ["lr", "proxy_lr", "epochs", "dim", "batch_size", "bank_size"])
def test_these_numbers_are_not_zero_either(name):
    with pytest.raises(InputError, match=rf"^{name} is 0: expected"):
        Settings(**{name: 0}).check()


@pytest.mark.parametrize("name", ["batch_size", "bank", "bank_size", "selection", "noise"])
def test_these_fields_may_be_left_open(name):
    Settings(**{name: None}).check()


@pytest.mark.parametrize("name", ["epochs", "lr", "dim", "seed", "loss"])
def test_the_others_may_not(name):
    with pytest.raises(InputError, match=rf"^{name} is None"):
        Settings(**{name: None}).check()
