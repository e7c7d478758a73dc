"""What there is to choose from: every file in a registry folder is one entry.

An entry is read from its source with `ast`, never imported, so listing and checking names and
options costs no torch. The options of an entry are the keyword-only arguments of its public
functions, with their defaults. A number says its range in its type, in words that are checked here
and shown to users: `scale: Annotated[float, "above 0"]`, `Annotated[int, "at least 1"]`,
`Annotated[float, "at least 0, below 1"]`.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import operator
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from cache.errors import InputError

Kind = Literal["losses", "closed_forms", "selection", "backbones", "noise", "datasets.official"]
Value = float | int | bool | str | None
_PIPELINE = Path(__file__).parents[1]
_SINGULAR = {
    "losses": "loss",
    "closed_forms": "closed form",
    "backbones": "backbone",
    "datasets.official": "data set",
}
_RANGE = re.compile(r"Annotated\[(\w+), '([^']*)'\]")
_LIMITS = {
    "above": operator.gt,
    "at least": operator.ge,
    "below": operator.lt,
    "at most": operator.le,
}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}


@dataclass(frozen=True)
class Option:
    """One keyword of an entry.

    Attributes:
        name: the keyword.
        default: its default; None where the entry has none.
        annotation: its type as written, without the range.
        choices: the allowed words, where the type is a Literal.
        is_required: whether it has no default.
        bounds: the range of its numbers, for example "above 0"; empty = any finite number.
    """

    name: str
    default: Value
    annotation: str
    choices: tuple[str, ...]
    is_required: bool
    bounds: str = ""

    @property
    def expected(self) -> str:
        """Say what a value has to be, for example "a number above 0 or 'auto'"."""
        kinds = [f"{_KINDS[kind]} {self._limit(kind)}".rstrip() for kind in self._types & {*_KINDS}]
        return " or ".join([*sorted(kinds), *map(repr, self.choices)])

    def check(self, value: object, what: str) -> None:
        """Refuse a value of another type or out of range; the error begins with `what`."""
        if not self._fits(value):
            raise InputError(f"{what} is {value!r}: expected {self.expected}")

    @property
    def _types(self) -> set[str]:
        return {name.strip() for name in self.annotation.split("|")}

    def _limit(self, kind: str) -> str:
        return self.bounds if kind in ("int", "float") else ""

    def _fits(self, value: object) -> bool:
        if value is None or isinstance(value, bool):
            return ("None" if value is None else "bool") in self._types
        if isinstance(value, int | float):
            is_number = "float" in self._types or (isinstance(value, int) and "int" in self._types)
            return is_number and is_within(value, self.bounds)
        return isinstance(value, str) and (value in self.choices or "str" in self._types)


@dataclass(frozen=True)
class Entry:
    """One file of a registry folder.

    Attributes:
        kind: the folder.
        name: the file's name.
        summary: its docstring's first line.
        options: by keyword.
        functions: names of its public functions.
        objects: keywords that take an object, which nobody can type.
    """

    kind: Kind
    name: str
    summary: str
    options: Mapping[str, Option]
    functions: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()

    def load(self) -> ModuleType:
        """Imports the entry's module."""
        return importlib.import_module(f"pipeline.{self.kind}.{self.name.replace('-', '_')}")

    def check(self, options: Mapping[str, Value]) -> None:
        """Refuses options that the entry lacks, of another type, or out of range."""
        for name, value in options.items():
            if name in self.objects:
                raise InputError(
                    f"option {name} of {self.name} takes an object: only options that are numbers, "
                    f"words, true or false can be set here ({', '.join(self.options) or 'none'})"
                )
            if name not in self.options:
                raise unknown(f"option of {self.name}", name, self.options)
            self.options[name].check(value, f"option {name} of {self.name}")


def entries(kind: Kind) -> dict[str, Entry]:
    """Reads every entry of one kind, sorted by name."""
    files = sorted(_PIPELINE.joinpath(*kind.split(".")).glob("*.py"))
    found = [_read(kind, file) for file in files if not file.name.startswith("_")]
    return {entry.name: entry for entry in found}


def find(kind: Kind, name: str) -> Entry:
    """Finds an entry by name; raises InputError with close names otherwise."""
    found = entries(kind)
    if name not in found:
        raise unknown(_SINGULAR.get(kind, kind), name, found)
    return found[name]


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """Makes the error for a name that does not exist, with a suggestion or the list."""
    known = list(dict.fromkeys(known))
    if not known:
        return InputError(f"unknown {what} {name!r}: there is nothing to choose from")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return InputError(f"unknown {what} {name!r}: did you mean {close[0]!r}?")
    return InputError(f"unknown {what} {name!r}: choose from {', '.join(known)}")


def is_within(value: float, bounds: str) -> bool:
    """Tells whether a number is finite and meets all conditions, as in "at least 0, below 1"."""
    conditions = [text.rpartition(" ") for text in bounds.split(", ") if text]
    is_finite = abs(value) <= sys.float_info.max  # False for NaN, and for an int beyond all floats
    return is_finite and all(_LIMITS[word](value, float(limit)) for word, _, limit in conditions)


def parse_option(name: str, annotation: str, default: Value, *, is_required: bool) -> Option:
    """Reads an option from its type as written in the source."""
    tree = ast.parse(annotation, mode="eval")
    text = ast.unparse(tree)
    bounds = "".join(found[2] for found in _RANGE.finditer(text))
    words: tuple[str, ...] = ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            literal = ast.literal_eval(node.slice)
            words = literal if isinstance(literal, tuple) else (literal,)
    return Option(name, default, _RANGE.sub(r"\1", text), words, is_required, bounds)


@functools.cache
def _read(kind: Kind, file: Path) -> Entry:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if kind == "backbones":  # whose keywords are the command line's own: --weights, --pool
        functions = []
    options: dict[str, Option] = {}
    for node in functions:
        if not node.name.startswith("_"):
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                options[argument.arg] = _option(argument, default)
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    name = file.stem if kind == "backbones" else file.stem.replace("_", "-")
    public = frozenset(node.name for node in functions if not node.name.startswith("_"))
    return Entry(kind, name, summary, options, public)


def _option(argument: ast.arg, default: ast.expr | None) -> Option:
    value = None if default is None else ast.literal_eval(default)
    annotation = ast.unparse(argument.annotation) if argument.annotation else "str"
    return parse_option(argument.arg, annotation, value, is_required=default is None)
