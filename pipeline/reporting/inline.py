"""From an SVG document to a drawing inside of an HTML page, in the page's own colours."""

from __future__ import annotations

import re
from html import escape

from pipeline.reporting.figure import GROUND, INK, LINE, MUTED, OTHER, SERIES, Figure

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    GROUND: "--ground",
    OTHER: "--series-8",
    **{colour: f"--series-{at}" for at, colour in enumerate(SERIES, start=1)},
}
_GEOMETRY = re.compile(r'\b(?:d|x|y|points|transform)="[^"<>]*"')
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_STYLES = re.compile(r'style="[^"<>]*"')
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_OPENING = re.compile(r"<svg[^>]*>")
_VIEW = re.compile(r'viewBox="([^"]*)"')
_OWN_STYLE = re.compile(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", re.DOTALL)
_USED = re.compile(r'(?:url\(#|href="#)([\w.-]+)')
_ID = re.compile(r' id="([\w.-]+)"')


def inlined(figure: Figure) -> str:
    """Write a figure for a page: no addresses, no names that two figures share, fewer digits."""
    body = figure.svg[figure.svg.index("<svg") :]
    opening = _OPENING.search(body)
    view = _VIEW.search(body)
    if opening is None or view is None:
        raise ValueError("matplotlib has written another SVG than expected")
    body = _OWN_STYLE.sub("", body[opening.end() :], count=1)
    body = _GEOMETRY.sub(lambda found: _DECIMALS.sub(_rounded, found[0]), body)
    body = _STYLES.sub(lambda found: _COLOUR.sub(_variable, found[0]), body)
    start = f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(figure.title)}">'
    return start + _renamed(body.replace("xlink:href", "href"), figure.name)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"


def _variable(colour: re.Match[str]) -> str:
    name = VARIABLES.get(colour[0])
    return colour[0] if name is None else f"var({name}, {colour[0]})"


def _renamed(body: str, prefix: str) -> str:
    """Keep the ids that the drawing itself refers to, with the figure's name before them."""
    used = set(_USED.findall(body))
    body = _ID.sub(lambda at: f' id="{prefix}-{at[1]}"' if at[1] in used else "", body)
    return _USED.sub(lambda at: at[0].replace(f"#{at[1]}", f"#{prefix}-{at[1]}"), body)
