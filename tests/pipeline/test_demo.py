"""The tour on a stand-in set: its rows, and that finished work is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import InputError
from pipeline import demo as tour
from pipeline.choices.settings import Settings
from pipeline.datasets.manifest import Manifest, make_manifest
from pipeline.demo import demo

KINDS, EACH = 5, 8


@contextmanager
def silent(title: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def coloured(root: Path) -> Manifest:
    """Pictures of one colour a class, five to train on and three to search with."""
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 216, (KINDS, 1, 1, 3))
    names, labels, splits = [], [], []
    for number in range(KINDS * EACH):
        kind = number % KINDS
        pixels = colours[kind] + generator.integers(-40, 40, (16, 16, 3))
        names.append(f"{number:02}.png")
        labels.append(str(kind))
        splits.append("train" if number < 5 * KINDS else "test")
        Image.fromarray(pixels.astype(np.uint8)).save(root / names[-1])
    return make_manifest(ids=names, paths=names, labels=labels, splits=splits, root=root)


@pytest.fixture(autouse=True)
def small_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat_backbone: object
) -> Callable[..., Settings]:
    """The stand-in set, a tiny backbone, and short trainings; `auto` tries nothing."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    manifest = coloured(pictures)
    monkeypatch.setattr(tour, "demo_manifest", lambda progress: manifest)

    def short(**chosen: object) -> Settings:
        return Settings(epochs=2, dim=8, budget=0, **chosen)  # type: ignore[arg-type]

    monkeypatch.setattr(tour, "Settings", short)
    return short


def test_the_table_begins_with_the_untrained_row(tmp_path):
    rows = demo(tmp_path / "demo", silent, device="cpu")
    assert [row.method for row in rows] == ["untrained", *tour.METHODS]
    untrained = rows[0]
    assert untrained.clean == untrained.noisy
    assert (untrained.found, untrained.right, untrained.seconds) == (None, None, 0.0)
    assert rows[1].found is None, "proxy-anchor drops no row"
    assert all(row.seconds > 0 for row in rows[1:])


def test_runs_lie_in_the_folder_and_hold_the_injected_noise(tmp_path):
    demo(tmp_path / "demo", silent, seed=4, device="cpu")
    runs = sorted(path.name for path in (tmp_path / "demo" / "runs").iterdir())
    expected = [f"{name}-{kind}-seed4" for name in tour.METHODS for kind in ("clean", "noisy")]
    assert runs == sorted(expected)
    noisy = tour.Run.open(tmp_path / "demo" / "runs" / "prism-noisy-seed4")
    assert (noisy.settings.noise, noisy.settings.seed) == (tour.NOISE, 4)
    assert noisy.record["noise"]["realised_rate"] == 0.4


def test_a_second_tour_trains_nothing_and_tells_the_same(tmp_path, monkeypatch):
    first = demo(tmp_path / "demo", silent, device="cpu")
    monkeypatch.setattr(tour, "train", None)
    assert demo(tmp_path / "demo", silent, device="cpu") == first


def test_another_seed_is_trained_beside_the_first(tmp_path):
    demo(tmp_path / "demo", silent, device="cpu")
    demo(tmp_path / "demo", silent, seed=1, device="cpu")
    assert len(list((tmp_path / "demo" / "runs").iterdir())) == 4 * len(tour.METHODS)


def test_a_tour_that_was_interrupted_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    learn, trained = tour.train, []

    def only_three(*given, **named):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(given[2].name)
        return learn(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(tour, "train", only_three)
        with pytest.raises(KeyboardInterrupt):
            demo(tmp_path / "demo", silent, device="cpu")
    rest = []
    monkeypatch.setattr(
        tour, "train", lambda *given, **named: rest.append(given[2].name) or learn(*given, **named)
    )
    demo(tmp_path / "demo", silent, device="cpu")
    assert len(trained) == len(rest) == 3
    assert not set(trained) & set(rest)


def test_a_run_with_other_settings_is_not_taken_for_the_demo_s(tmp_path, monkeypatch, small_set):
    demo(tmp_path / "demo", silent, device="cpu")
    monkeypatch.setattr(tour, "Settings", lambda **chosen: small_set(**chosen).replaced(dim=9))
    with pytest.raises(InputError, match="is another run than the demo's: remove it, or name"):
        demo(tmp_path / "demo", silent, device="cpu")
