"""The model card for people: Markdown, made of the card's facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.exporting.usage import needs, program
from pipeline.transforms.chain import Chain

Facts = Mapping[str, Any]


def readme(card: Facts) -> str:
    """Write the README.md of an export."""
    parts = [
        f"# {_code(card['name'])}: embeddings for image retrieval",
        _introduction(card),
        "## The file",
        _table(("", ""), _file(card)),
        "## What it does, and what it leaves to you",
        _steps(card),
        "## Use it",
        _use(card),
        "## Checked",
        _check(card["check"]),
        "## How it was trained",
        _table(("", ""), _training(card)),
        "## Figures",
        _figures(card),
        "## Licence",
        str(card["licence"]),
        "All facts, for programs: [card.json](card.json).",
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(card: Facts) -> str:
    what = "pictures" if card["model"]["with_backbone"] else "features of a frozen backbone"
    width = card["model"]["output"]["shape"][1]
    return (
        f"Maps {what} to vectors of length {width} and unit norm; the larger the dot product of "
        "two of them, the more alike. Nearest neighbours by dot product are the result of a search."
    )


def _file(card: Facts) -> list[tuple[str, str]]:
    model = card["model"]
    return [
        ("file", _code(model["file"])),
        ("format", f"{model['format']}, {_listed(model['details'])}"),
        ("bytes", f"{model['bytes']:,}"),
        ("SHA-256", _code(model["sha256"])),
        *((side, _tensor(model[side])) for side in ("input", "output")),
        ("weights of", f"the {model['epoch']} epoch"),
        ("command", _code(card["command"] or "-")),
    ]


def _steps(card: Facts) -> str:
    steps, backbone = card["preprocessing"], card["backbone"]
    lines = [
        f"- inside: {', '.join(steps['inside'])}",
        f"- outside, before it: {', '.join(steps['outside'])}",
        f"- the transform: {_code(json.dumps(steps['transform']))}",
        f"- the backbone: {_code(backbone['name'])}, features {_code(backbone['features'])}"
        f"{_mean_of(backbone['mean_of'])}, "
        f"{backbone['num_features']:,} of them; SHA-256 of its weights "
        f"{_code(backbone['weights_sha256'])}",
        "",
        "Resizing is Pillow's, with antialiasing: other libraries' resizing changes the results. "
        "Pictures with 16 bits a channel have to be brought to 8 bits first.",
    ]
    return "\n".join(lines)


def _mean_of(features: Sequence[str]) -> str:
    """Say what the features are the mean of, if of several."""
    if len(features) == 1:
        return ""
    views = "the views are made as `augmentation` in card.json says"
    return f" (the mean of {', '.join(features)}; {views})"


def _use(card: Facts) -> str:
    model = card["model"]
    kind, with_backbone = model["format"], model["with_backbone"]
    code = program(
        kind,
        model["file"],
        model["input"]["name"],
        with_backbone=with_backbone,
        chain=Chain.parse(card["run"]["transform"]),
        head=card["run"]["settings"]["head"],
    )
    given = "PICTURE..." if with_backbone else "FEATURES.npy"
    return (
        f"Needs `pip install {needs(kind, with_backbone=with_backbone)}` and nothing of dml. Save "
        f"it in this folder as `embed.py` and run `python embed.py {given}` here:\n\n"
        f"```python\n{code}```"
    )


def _check(check: Facts) -> str:
    text = (
        f"On {_plain(check['on'])}, all at once and one alone, the file gave the embeddings of the "
        f"run: least cosine {check['min_cosine']:.7f} (at least {check['required']} was required)."
    )
    if check["min_cosine_to_store"] is not None:
        text += (
            " The features in the store are rounded; the least cosine to their embeddings was "
            f"{check['min_cosine_to_store']:.5f}."
        )
    return text


def _training(card: Facts) -> list[tuple[str, str]]:
    run, settings, store = card["run"], card["run"]["settings"], card["store"]
    noise, looked = run["noise"], run["validation"]
    options = [f"{key}={value}" for key, value in settings["options"].items()]
    rows = [
        ("trained", run["created"]),
        ("loss, selection", f"{run['recipe']['loss']}, {run['recipe']['selection']}"),
        ("options", ", ".join(options) or "none"),
        ("transform", run["transform"]),
        ("epochs, seed", f"{settings['epochs']}, {settings['seed']}"),
        ("images, classes", f"{run['counts']['train']:,}, {run['counts']['train_classes']:,}"),
        ("protocol", run["protocol"]),
        ("corrected labels", settings["labels"] or "none"),
        ("noise made on purpose", "none" if noise is None else noise["spec"]),
        ("labels left out at the end", f"{run['selection']['dropped']:,}"),
        ("validation", "none" if looked is None else f"best epoch {looked['selected_epoch']}"),
        ("store", store["digest"]),
        ("hardware", run["environment"]["hardware"]),
        ("versions", _listed({name: text for name, text in card["versions"].items() if text})),
    ]
    return [(name, _code(str(value))) for name, value in rows]


def _figures(card: Facts) -> str:
    figures = card["figures"]
    if figures is None:
        return "Not measured: `dml eval` does."
    names = list(next(iter(figures.values())))
    rows = [
        (_code(row), *("-" if each is None else f"{100 * each:.1f}" for each in metrics.values()))
        for row, metrics in figures.items()
    ]
    told = (
        f"Percent, protocol {card['run']['protocol']}, exact search among all others; untrained: "
        "the backbone's features before training."
    )
    return f"{_table(('', *names), rows)}\n\n{told}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tensor(facts: Facts) -> str:
    shape = ", ".join(map(str, facts["shape"]))
    return f"{_code(facts['name'])}, {facts['dtype']} ({shape})"


def _listed(facts: Facts) -> str:
    return ", ".join(f"{name} {_plain(str(value))}" for name, value in facts.items())


def _code(text: str) -> str:
    """Write a text as code: names of files and folders may hold anything."""
    return f"`{_plain(text)}`"


def _plain(text: str) -> str:
    """Take out what would end a code span, a cell of a table or a line, or begin HTML."""
    kept = " ".join(text.split()).replace("`", "'").replace("|", "/")
    return kept.replace("<", "‹").replace(">", "›")
