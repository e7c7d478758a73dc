"""Self-contained HTML pages: one base, one style, templates that extend it, and small pictures.

What comes from users (labels, ids, file names, notes) is escaped by the templates themselves; only
what this package draws (figures, pictures) enters a page as it is, as `Markup`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, facts: Mapping[str, object]) -> str:
    """Fill a template of this folder: a whole page, with its style inside.

    Args:
        template: its file name, "report.html".
        facts: what its variables stand for; one that is missing is an error of this program.
    """
    return _environment().get_template(template).render(facts)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
