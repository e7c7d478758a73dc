"""Values as people type them on the command line."""

from __future__ import annotations

import json

from cache.errors import InputError
from pipeline.choices.catalogue import Value


def parse_value(text: str) -> Value:
    """Reads a number, true or false; anything else stays a word."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, int | float | bool) else text


def parse_ranks(option: str, text: str) -> tuple[int, ...]:
    """Read the K of an option such as --recall: whole numbers of at least 1, sorted, each once."""
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        values = [0]
    if values[0] < 1:
        raise InputError(f"{option} {text!r}: expected whole numbers of at least 1, as in 1,2,4,8")
    return tuple(values)
