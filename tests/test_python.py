"""`import dml`: a small surface over the stages, and the notebook that shows it."""

from __future__ import annotations

import inspect
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dml
from cache import FeatureStore, StoreWriter

from .pipeline.photos import make_photos

NOTEBOOK = Path(__file__).with_name("example_notebook.py")
FAST: Any = {"dim": 8, "epochs": 2}


def functions() -> list[str]:
    return [name for name in dml.__all__ if inspect.isfunction(getattr(dml, name))]


def test_the_notebook_runs_to_its_end(
    tmp_path: Path, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(NOTEBOOK))
    shown = capsys.readouterr()
    assert "24 images, 8 features each" in shown.out
    assert shown.err == ""
    assert found["embeddings"].shape == (4, 64)
    assert all(file.is_file() for file in found["exported"].files)


def test_importing_it_loads_nothing_heavy() -> None:
    program = (
        "import sys, dml\n"
        "heavy = {'torch', 'torchvision', 'timm', 'zarr', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("name", functions())
def test_every_argument_is_explained_and_typed(name: str) -> None:
    function = getattr(dml, name)
    text = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert f"\n    {parameter.name}: " in text
        assert parameter.annotation is not inspect.Parameter.empty
    assert "Raises:\n    DmlError: " in text


def test_stores_and_runs_may_be_given_by_path(home: Path, store: FeatureStore) -> None:
    run = dml.train("features.zarr", "proxy-anchor", **FAST)
    assert run.path == Path("dml-out/runs/proxy-anchor")
    by_path = dml.evaluate("dml-out/runs/proxy-anchor").rows["proxy-anchor"]
    assert by_path == dml.evaluate(run, store).rows["proxy-anchor"]
    assert by_path == dml.evaluate(run, "features.zarr", recall=[1, 2, 4, 8]).rows["proxy-anchor"]
    assert dml.train("features.zarr", "proxy-anchor", **FAST).path.name == "proxy-anchor-2"


def test_it_trains_what_the_command_trains(home: Path, request: pytest.FixtureRequest) -> None:
    command = request.getfixturevalue("dml")
    options = {"loss.margin": 0.2}
    ours = dml.train(
        "features.zarr", "proxy-anchor", noise="symmetric:0.3", seed=5, options=options, **FAST
    )
    words = "--loss proxy-anchor --noise symmetric:0.3 --seed 5 --set loss.margin=0.2"
    assert command(f"train {words} --dim 8 --epochs 2 --run other").code == 0
    other = dml.open_run("other")
    assert ours.settings == other.settings
    weights = [each.weights() for each in (ours, other)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_chosen_features_are_trained_on(
    store: FeatureStore, tmp_path: Path, make_both: Any
) -> None:
    path = make_both(tmp_path / "both.zarr")
    for name, expected in (("max", "max"), ("avg", None), (None, None)):
        run = dml.train(
            dml.open_store(path, name), "proxy-anchor", path=tmp_path / str(name), **FAST
        )
        assert run.settings.features == expected


@pytest.fixture
def make_both(store: FeatureStore) -> Any:
    """The function that writes a store of two kinds of features, avg and max."""

    def make(path: Path) -> Path:
        values = np.stack([store.read().values] * 2, axis=1)
        facts = replace(store.fingerprint, pool="avg,max")
        with StoreWriter.create_or_resume(
            path, fingerprint=facts, rows=store.rows, root="photos", chunk_rows=100
        ) as writer:
            for number in list(writer.pending):
                rows = writer.chunk(number)
                writer.write(number, values[rows.start : rows.stop], {})
        return path

    return make


REFUSED = {
    "no run at nowhere": lambda: dml.evaluate("nowhere"),
    "there is no feature store at": lambda: dml.train("nowhere"),
    "unknown loss 'prsim': did you mean": lambda: dml.train("features.zarr", "prsim"),
    "expected a number above 0": lambda: dml.train("features.zarr", options={"lr": 0}),
    "recall is": lambda: dml.evaluate("mine", recall=[0]),
    "k is 0": lambda: dml.search("mine", ["a.png"], k=0),
    "expected a list of paths": lambda: dml.embed("mine", "a.png"),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_does_not_fit_is_a_line(said: str, home: Path) -> None:
    if said[0] in "rke":
        dml.train("features.zarr", "proxy-anchor", path="mine", **FAST)
    with pytest.raises(dml.DmlError, match=said) as caught:
        REFUSED[said]()
    assert "\n" not in str(caught.value)


def test_images_that_cannot_be_read_are_named(
    tmp_path: Path, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    run = dml.train(dml.extract("photos", "photos.zarr"), "proxy-anchor", path="mine", **FAST)
    right = "photos/class 0/0.png"
    with pytest.raises(dml.DmlError, match=r"1 of 2 images cannot be read \(gone.png: file not"):
        dml.embed(run, [right, "gone.png"])
    assert dml.embed(run, []).shape == (0, 8)
    assert np.allclose(np.linalg.norm(dml.embed(run, [Path(right)]), axis=1), 1)
    assert dml.search(run, [right], k=2).answers[0].hits[0].id == "class 0/0.png"
