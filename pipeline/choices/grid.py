"""Everything that an ablation shall train: methods x options x noise x protocols, as settings.

Lists are separated by commas. A comma inside a noise spec (`symmetric:0.2,mode=independent`)
belongs to the spec, and one inside a transform (`centre,whiten:0.2`) to the transform; other values
of `--set` that hold a comma themselves cannot be written.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.checks import HIDDEN, LINEAR
from pipeline.choices.recipes import AUTO
from pipeline.choices.settings import Settings
from pipeline.choices.starts import RANDOM
from pipeline.labels.corruption import NoiseSpec
from pipeline.transforms.chain import Chain, split_chains

UNTRAINED = "untrained"
CLEAN = "0"  # in a list of noise specs: labels as given
# Keys that a list of its own sets, so that --set cannot.
_ELSEWHERE = {
    "loss": "--loss",
    "selection": "--select",
    "noise": "--noise",
    "protocol": "--protocol",
    "seed": "--seeds",
}
_USUAL_HEAD = {"head": LINEAR, "hidden": HIDDEN, "dropout": 0, "feature_noise": 0}
_BEGINS_A_SPEC = re.compile(r"[\w-]+(:|$)")


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds alone, and train as one program.

    Attributes:
        method: its name in the table: a loss or recipe, or LOSS+SELECTION.
        options: the values that distinguish it from the method's other cells, as
            "loss.margin=0.1"; empty without a grid.
        settings: of every run but for the seed.
    """

    method: str
    options: str
    settings: Settings

    def __str__(self) -> str:
        """Name the cell in a message."""
        noise = f"noise {self.settings.noise or CLEAN}"
        return " ".join(filter(None, [self.method, self.options, "with", noise]))


def plan(
    common: Settings,
    *,
    loss: str,
    select: str | None = None,
    noise: str = CLEAN,
    protocol: str | None = None,
    changes: Sequence[str] = (),
) -> list[Cell]:
    """List the cells of a grid, in the order of the lists, and check them; costs no torch.

    Args:
        common: what all cells share.
        loss: losses, recipes or LOSS+SELECTION.
        select: selections, each of which is combined with every loss.
        noise: noise specs; 0 = labels as given.
        protocol: protocols; None = what the store's splits suggest.
        changes: KEY=VALUE,VALUE,... as for `--set`; several of them are multiplied.

    Raises:
        InputError: a name, option or value does not exist or fit, or a cell stands there twice.
    """
    methods = _methods(_split("--loss", loss), _split("--select", select) if select else [])
    protocols = _split("--protocol", protocol) if protocol else [None]
    grid = _grid(changes)
    noises = _noises(noise)
    cells = [
        Cell(method, options, _settings(common, method, each, where, combination).check())
        for where, method, (combination, options), each in itertools.product(
            protocols, methods, grid, noises
        )
    ]
    _refuse_doubles(cells)
    return cells


def canonical(settings: Settings) -> dict[str, Any]:
    """Write settings as plain values, equal for equal runs: the seed is left out."""
    noise = None if settings.noise is None else str(NoiseSpec.parse(settings.noise))
    chosen = settings.recipe
    transform = str(Chain.parse(chosen.transform))
    own = replace(settings, selection=chosen.selection, transform=transform, noise=noise)
    facts = asdict(own)
    del facts["seed"]
    if settings.loss != AUTO:
        del facts["budget"]
    if settings.labels is None:
        del facts["labels"]  # runs of versions that knew no corrected labels stay the same
    if settings.views is None:
        del facts["views"]  # so do those of versions that drew none
    if settings.start == RANDOM:
        del facts["start"]  # so do those of versions that began nowhere else
    for name, usual in _USUAL_HEAD.items():
        if facts[name] == usual:
            del facts[name]  # so do those of versions that had no other head
    if transform == "centre":
        del facts["transform"]  # so do those of versions that did nothing else
    return facts


def _split(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"{option} {text!r}: expected names separated by commas")
    return names


def _methods(losses: list[str], selections: list[str]) -> list[str]:
    """Combine losses with selections, as LOSS+SELECTION."""
    for name in losses if selections else []:
        if "+" in name:
            raise InputError(
                f"--loss {name} names a selection already: leave out --select, or the part behind +"
            )
    methods = [f"{loss}+{each}" for loss in losses for each in selections] or losses
    for name in methods:
        if methods.count(name) > 1:
            raise InputError(f"{name} is asked for twice: name each method once")
    return methods


def _noises(text: str) -> list[str | None]:
    specs: list[str] = []
    for part in _split("--noise", text):
        if specs and not _BEGINS_A_SPEC.match(part):
            specs[-1] += f",{part}"
        else:
            specs.append(part)
    return [None if spec == CLEAN else spec for spec in specs]


def _grid(changes: Sequence[str]) -> list[tuple[list[str], str]]:
    """Multiply lists of values: the KEY=VALUE texts of each combination, and what to call it."""
    lists: dict[str, list[str]] = {}
    for text in changes:
        key, is_pair, values = text.partition("=")
        if not is_pair or not key:
            raise InputError(f"--set {text!r}: expected key=value, for example loss.margin=0.1,0.2")
        if key in _ELSEWHERE:
            raise InputError(f"--set {text!r}: use {_ELSEWHERE[key]} for this")
        if key in lists:
            raise InputError(f"--set {key} is given twice: separate its values by commas")
        split = split_chains(values) if key == "transform" else _split(f"--set {key}", values)
        lists[key] = [f"{key}={value}" for value in split]
    combinations = itertools.product(*lists.values())
    varied = [len(values) > 1 for values in lists.values()]
    return [(list(each), " ".join(itertools.compress(each, varied))) for each in combinations]


def _settings(
    common: Settings, method: str, noise: str | None, protocol: str | None, changes: list[str]
) -> Settings:
    loss, is_paired, selection = method.partition("+")
    settings = common.replaced(loss=loss, selection=selection if is_paired else None, noise=noise)
    return settings.replaced(protocol=protocol).with_changes(changes)


def _refuse_doubles(cells: Sequence[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        key = json.dumps(canonical(cell.settings), sort_keys=True)
        if key in seen:
            raise InputError(f"{seen[key]} and {cell} are the same cell: leave one of them out")
        seen[key] = cell


def refuse_unknown_baseline(name: str | None, methods: Sequence[str]) -> None:
    """Raise InputError unless the baseline is one of the methods, or untrained, or not given."""
    known = [*methods, UNTRAINED]
    if name is not None and name not in known:
        raise catalogue.unknown("baseline", name, known)
