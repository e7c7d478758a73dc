"""What tests of the stages share."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of every program that was trained, in order."""
    import pipeline.ablation.trial

    programs: list[list[int]] = []
    learn = pipeline.ablation.trial.learn

    def count(values: Any, source: Any, roles: Any, runs: Any, **others: Any) -> Any:
        programs.append([each.seed for each in runs])
        return learn(values, source, roles, runs, **others)

    monkeypatch.setattr("pipeline.ablation.trial.learn", count)
    return programs
