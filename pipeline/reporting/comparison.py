"""What a report compares: the runs of one ablation, or runs that were trained one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.ablation.summary import Line, Summary, summarise
from pipeline.choices.grid import CLEAN, UNTRAINED
from pipeline.choices.settings import Settings
from pipeline.labels.corruption import NoiseSpec
from pipeline.runs.results import Row

_ASIDE = {"loss", "selection", "noise", "protocol", "seed", "options"}


@dataclass(frozen=True)
class Comparison:
    """Methods side by side.

    Attributes:
        name: where the figures are from.
        rows: one for each run, as in the results of an ablation.
        summary: of them, in the metric that was asked for.
    """

    name: str
    rows: list[Row]
    summary: Summary

    @classmethod
    def of(
        cls, name: str, rows: list[Row], *, metric: str | None, baseline: str | None
    ) -> Comparison:
        """Average rows over seeds; raises InputError for an unknown metric or baseline."""
        return cls(name, rows, summarise(rows, metric=metric, baseline=baseline))

    def summary_of(self, metric: str) -> Summary:
        """Summarise the same rows in another metric."""
        return summarise(self.rows, metric=metric, baseline=self.summary.baseline)


def method_of(settings: Settings) -> str:
    """Name a method as an ablation does: the loss, and its selection if that is another one."""
    usual = settings.replaced(selection=None).recipe.selection
    chosen = settings.recipe.selection
    return settings.loss if chosen == usual else f"{settings.loss}+{chosen}"


def noise_of(settings: Settings) -> str:
    """Write the noise as an ablation does."""
    return CLEAN if settings.noise is None else str(NoiseSpec.parse(settings.noise))


def options_of(runs: Sequence[Settings]) -> list[str]:
    """Name what tells each run from the others of its method: "epochs=10 loss.margin=0.1"."""
    found = []
    for settings in runs:
        others = [_plain(each) for each in runs if method_of(each) == method_of(settings)]
        own = _plain(settings)
        keys = [key for key in own if any(each.get(key) != own[key] for each in others)]
        missing = {key for each in others for key in each if key not in own}
        texts = [f"{key}={own[key]}" for key in keys]
        found.append(" ".join([*texts, *(f"{key}=default" for key in sorted(missing))]))
    return found


def line_names(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """List methods with their options once each, the untrained features first."""
    names = dict.fromkeys((line.method, line.options) for line in lines)
    return sorted(names, key=lambda name: name[0] != UNTRAINED)


def _plain(settings: Settings) -> dict[str, Any]:
    """List what was asked for but for method, noise, protocol and seed."""
    facts = {key: value for key, value in asdict(settings).items() if key not in _ASIDE}
    return {**facts, "transform": settings.recipe.transform, **settings.options}
