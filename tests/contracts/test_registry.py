"""What every file in a registry folder promises to `dml list` and to `--set`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Entry, is_within

KINDS = ("losses", "selection", "noise", "backbones")
ENTRIES = [entry for kind in KINDS for entry in catalogue.entries(kind).values()]


def name_of(entry: Entry) -> str:
    return f"{entry.kind}:{entry.name}"


every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
# A backbone's keywords are those of the command line, explained in `pipeline.backbones`.
every_entry_with_options = pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.kind != "backbones"], ids=name_of
)


def public_functions(entry: Entry) -> dict[str, Callable[..., object]]:
    module = entry.load()
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def options_of(function: Callable[..., object]) -> dict[str, object]:
    given = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY}


@every_entry
def test_the_docstring_opens_with_one_short_sentence(entry):
    assert entry.summary.endswith(".")
    assert 1 < len(entry.summary) < 110


@every_entry_with_options
def test_an_option_has_one_default_in_all_functions_of_its_module(entry):
    seen: dict[str, object] = {}
    for function in public_functions(entry).values():
        for name, default in options_of(function).items():
            assert seen.setdefault(name, default) == default, name


@every_entry_with_options
def test_the_catalogue_lists_the_options_that_the_functions_have(entry):
    found: dict[str, object] = {}
    for function in public_functions(entry).values():
        found.update(options_of(function))
    assert set(found) == set(entry.options)
    for name, option in entry.options.items():
        assert option.is_required == (found[name] is inspect.Parameter.empty)
        assert option.is_required or option.default == found[name]


@every_entry_with_options
def test_every_option_is_explained_in_the_docstring_of_its_function(entry):
    for name, function in public_functions(entry).items():
        text = inspect.getdoc(function) or ""
        for option in options_of(function):
            assert re.search(rf"^ +{option}: \S", text, re.MULTILINE), f"{name}: {option}"


@every_entry_with_options
def test_every_default_passes_its_own_check(entry):
    entry.check({o.name: o.default for o in entry.options.values() if not o.is_required})


@every_entry
def test_every_number_states_its_range_and_its_default_lies_in_it(entry):
    for option in entry.options.values():
        if {"int", "float"} & set(option.annotation.split(" | ")):
            assert option.bounds, option.name
            assert isinstance(option.default, str | None) or is_within(
                option.default, option.bounds
            )


@every_entry
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_no_option_takes_a_number_that_is_not_finite(entry, value):
    for name in entry.options:
        with pytest.raises(InputError, match=f"option {name} of {entry.name} is "):
            entry.check({name: value})
