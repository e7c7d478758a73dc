"""Values as people type them on the command line."""

from __future__ import annotations

import json

from pipeline.choices.catalogue import Value


def parse_value(text: str) -> Value:
    """Reads a number, true or false; anything else stays a word."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, int | float | bool) else text
