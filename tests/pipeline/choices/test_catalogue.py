"""The catalogue: what it finds, what it refuses, and what it does not import."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from cache.errors import DmlError, InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Entry, Option, is_within, parse_option


def option(annotation: str, default: object = None, choices: tuple[str, ...] = ()) -> Option:
    return Option("level", default, annotation, choices, is_required=False)


def entry(given: Option) -> Entry:
    return Entry("losses", "made-up", "A summary.", {given.name: given})


def test_every_recipe_of_the_first_release_is_there():
    assert {
        "contrastive",
        "multi-similarity",
        "proxy-anchor",
        "memory-contrastive",
        "smooth-proxy-anchor",
    } <= set(catalogue.entries("losses"))
    assert {"none", "prism", "prism-queue", "confidence"} <= set(catalogue.entries("selection"))


def test_files_with_a_leading_underscore_are_no_entries():
    for kind in ("losses", "selection", "backbones", "noise"):
        assert not [name for name in catalogue.entries(kind) if name.startswith(("_", "-"))]


def test_an_entry_lists_its_options_with_defaults_types_and_choices():
    options = catalogue.find("losses", "smooth-proxy-anchor").options
    assert options["scale"] == Option(
        "scale", 32.0, "float", (), is_required=False, bounds="above 0"
    )
    assert options["weighting"].choices == ("inside", "exponent", "none")
    assert catalogue.find("selection", "prism-queue").options["noise_rate"].is_required


def test_the_options_of_all_functions_of_a_file_are_one_list():
    options = catalogue.find("selection", "prism").options
    assert {"noise_rate", "scale", "passes", "head_share"} <= set(options)
    assert options["noise_rate"].choices == ("auto",)


def test_an_entry_loads_its_module():
    module = catalogue.find("losses", "multi-similarity").load()
    assert module.__name__ == "pipeline.losses.multi_similarity"


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [
        ("losses", "proxy-ancor", "proxy-anchor"),
        ("losses", "multi_similarity", "multi-similarity"),
        ("selection", "prims", "prism"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(kind, typed, meant):
    with pytest.raises(InputError) as refused:
        catalogue.find(kind, typed)
    assert repr(typed) in str(refused.value)
    assert str(refused.value).endswith(f"did you mean {meant!r}?")


def test_a_name_far_from_all_others_is_refused_with_the_list():
    with pytest.raises(InputError, match=r"unknown loss 'xyz': choose from .*contrastive"):
        catalogue.find("losses", "xyz")


def test_a_mistyped_option_is_refused_with_a_suggestion():
    given = catalogue.find("losses", "proxy-anchor")
    with pytest.raises(DmlError, match=r"unknown option of proxy-anchor 'margn'.*'margin'"):
        given.check({"scale": 16.0, "margn": 0.2})


@pytest.mark.parametrize(
    ("given", "value", "expected"),
    [
        (option("float"), "high", "expected a number"),
        (option("float"), True, "expected a number"),
        (option("float"), None, "expected a number"),
        (option("int"), 0.5, "expected a whole number"),
        (option("bool"), 1, "expected true or false"),
        (option("Literal['a', 'b']", choices=("a", "b")), "c", "expected 'a' or 'b'"),
        (option("Literal['a', 'b']", choices=("a", "b")), 1, "expected 'a' or 'b'"),
        (
            option("float | Literal['auto']", choices=("auto",)),
            "aut",
            "expected a number or 'auto'",
        ),
        (option("str"), 3, "expected a word"),
        (option("str"), None, "expected a word"),
        (option("int | None"), "many", "expected"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_was_expected(given, value, expected):
    with pytest.raises(InputError) as refused:
        entry(given).check({"level": value})
    message = str(refused.value)
    assert message.startswith(f"option level of made-up is {value!r}: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (option("float"), 0.5),
        (option("float"), 2),
        (option("int"), 2),
        (option("bool"), False),
        (option("str"), "any"),
        (option("Literal['a', 'b']", choices=("a", "b")), "b"),
        (option("float | Literal['auto']", choices=("auto",)), "auto"),
        (option("float | Literal['auto']", choices=("auto",)), 0.3),
        (option("int | None"), None),
        (option("int | None"), 3),
    ],
)
def test_a_value_of_the_right_type_passes(given, value):
    entry(given).check({"level": value})


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ("above 0", [1e-30, 1, 1e30], [0, -1, -1e-30]),
        ("at least 1", [1, 10**6], [0, 0.99]),
        ("at least 0, at most 1", [0, 0.5, 1], [-0.001, 1.001]),
        ("at least 0, below 1", [0, 0.999], [1, -1]),
        ("", [-1e30, 0, 5], []),
    ],
)
def test_a_range_is_read_from_its_words(bounds, inside, outside):
    assert all(is_within(value, bounds) for value in inside)
    assert not any(is_within(value, bounds) for value in outside)
    for value in (math.nan, math.inf, -math.inf, 10**400):
        assert not is_within(value, bounds)


def test_the_range_stands_in_the_type_and_in_the_refusal():
    words = "Annotated[float, 'at least 0, below 1'] | Literal['auto'] | None"
    given = parse_option("level", words, None, is_required=False)
    assert given.annotation == "float | Literal['auto'] | None"
    assert given.bounds == "at least 0, below 1"
    for value in (0, 0.5, "auto", None):
        given.check(value, "level")
    said = r"^level is 1: expected a number at least 0, below 1 or 'auto'$"
    with pytest.raises(InputError, match=said):
        given.check(1, "level")


def test_backbones_have_no_options_to_set():
    assert not [entry for entry in catalogue.entries("backbones").values() if entry.options]


def test_reading_the_catalogue_and_checking_options_imports_no_torch():
    program = (
        "import sys\n"
        "from pipeline.choices import catalogue\n"
        "for kind in ('losses', 'selection', 'backbones', 'noise'): catalogue.entries(kind)\n"
        "catalogue.find('losses', 'proxy-anchor').check({'scale': 16.0})\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
