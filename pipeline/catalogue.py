"""What there is to choose from: every file in a registry folder is one entry.

An entry is read from its source with `ast`, never imported, so listing and checking names and
options costs no torch. The options of an entry are the keyword-only arguments of its public
functions, with their defaults.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from cache.errors import InputError

Kind = Literal["losses", "selection", "backbones", "noise"]
Value = float | int | bool | str | None
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Option:
    """One keyword of an entry.

    Attributes:
        name: the keyword.
        default: its default; None where the entry has none.
        annotation: its type as written.
        choices: the allowed words, where the type is a Literal.
        is_required: whether it has no default.
    """

    name: str
    default: Value
    annotation: str
    choices: tuple[str, ...]
    is_required: bool


@dataclass(frozen=True)
class Entry:
    """One file of a registry folder: its name, its docstring's first line, its options."""

    kind: Kind
    name: str
    summary: str
    options: Mapping[str, Option]

    def load(self) -> ModuleType:
        """Imports the entry's module."""
        return importlib.import_module(f"pipeline.{self.kind}.{self.name.replace('-', '_')}")

    def check(self, options: Mapping[str, Value]) -> None:
        """Refuses options that the entry lacks or whose value is of another type."""
        for name, value in options.items():
            if name not in self.options:
                raise unknown(f"option of {self.name}", name, self.options)
            _check_value(self, self.options[name], value)


def entries(kind: Kind) -> dict[str, Entry]:
    """Reads every entry of one kind, sorted by name."""
    files = sorted((_HERE / kind).glob("*.py"))
    found = [_read(kind, file) for file in files if not file.name.startswith("_")]
    return {entry.name: entry for entry in found}


def find(kind: Kind, name: str) -> Entry:
    """Finds an entry by name; raises InputError with close names otherwise."""
    found = entries(kind)
    if name not in found:
        raise unknown({"losses": "loss", "backbones": "backbone"}.get(kind, kind), name, found)
    return found[name]


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """Makes the error for a name that does not exist, with a suggestion or the list."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return InputError(f"unknown {what} {name!r}: did you mean {close[0]!r}?")
    return InputError(f"unknown {what} {name!r}: choose from {', '.join(known) or 'none'}")


def _read(kind: Kind, file: Path) -> Entry:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    options: dict[str, Option] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                options[argument.arg] = _option(argument, default)
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    name = file.stem if kind == "backbones" else file.stem.replace("_", "-")
    return Entry(kind, name, summary, options)


def _option(argument: ast.arg, default: ast.expr | None) -> Option:
    annotation = ast.unparse(argument.annotation) if argument.annotation else "str"
    words: tuple[str, ...] = ()
    for node in ast.walk(argument.annotation or ast.Constant("")):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            literal = ast.literal_eval(node.slice)
            words = literal if isinstance(literal, tuple) else (literal,)
    value = None if default is None else ast.literal_eval(default)
    return Option(argument.arg, value, annotation, words, is_required=default is None)


def _check_value(entry: Entry, option: Option, value: Value) -> None:
    names = {name.strip() for name in option.annotation.split("|")}
    if value is None:
        fits = "None" in names
    elif isinstance(value, bool):
        fits = "bool" in names
    elif isinstance(value, int):
        fits = bool(names & {"int", "float"})
    elif isinstance(value, float):
        fits = "float" in names
    else:
        fits = value in option.choices or "str" in names
    if not fits:
        kinds = [name for name in sorted(names) if not name.startswith("Literal")]
        expected = " or ".join([*kinds, *map(repr, option.choices)])
        raise InputError(f"option {option.name} of {entry.name} is {value!r}: expected {expected}")
