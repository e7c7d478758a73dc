"""Stage two on a synthetic store: who sees which labels, and what a run records."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import FeatureStore
from cache.errors import InputError, StoreIncompleteError
from pipeline.choices import catalogue
from pipeline.choices.recipes import RECIPES
from pipeline.choices.settings import Settings
from pipeline.evaluate import UNTRAINED, evaluate_run
from pipeline.runs.record import Run
from pipeline.train import train

LOSSES = [
    name
    for name in dict.fromkeys([*RECIPES, *catalogue.entries("losses")])
    if Settings(loss=name).recipe.loss
]
CLASSES, TRAIN = 12, 192
# Functions of losses and selections that are given labels, and where.
SHOWN_A_BATCH = {"loss", "facts", "select", "exchange"}
SHOWN_ALL_LABELS = {"start": 1, "refresh": 2, "survey": 1, "sample": 0}


def settings(loss: str, **changes: Any) -> Settings:
    # In so small a store most rows have no class at 50 % noise; the loss would refuse to go on.
    options = {"loss.unassigned": "negative"} if loss == "smooth-proxy-anchor" else {}
    return Settings(**{"loss": loss, "dim": 16, "epochs": 4, "options": options} | changes)


def expected_labels(run: Run) -> np.ndarray:
    """The noisy labels that the run says it used, as class numbers."""
    return np.array([int(name) for name in run.labels()["label"].to_pylist()])


class Spies:
    """Every label tensor that a loss or a selection is shown, with the rows it belongs to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chosen: Settings) -> None:
        self.all_rows: list[torch.Tensor] = []
        self.batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        recipe = chosen.recipe
        loss = catalogue.find("losses", recipe.loss or "").load()
        selection = catalogue.find("selection", recipe.selection).load()
        for module in (loss, selection):
            for name in SHOWN_A_BATCH & set(vars(module)):
                monkeypatch.setattr(module, name, self.on_batch(getattr(module, name)))
            for name, place in SHOWN_ALL_LABELS.items():
                if hasattr(module, name):
                    spy = self.on_rows(getattr(module, name), place)
                    monkeypatch.setattr(module, name, spy)

    def on_batch(self, function: Any) -> Any:
        @functools.wraps(function)
        def spy(first: Any, batch: Any, *rest: Any, **options: Any) -> Any:
            self.batches.append((plain(batch.labels), plain(batch.rows)))
            if batch.memory is not None:
                rows, used = plain(batch.memory.rows), plain(batch.memory.weights) > 0
                self.batches.append((plain(batch.memory.labels)[used], rows[used]))
            return function(first, batch, *rest, **options)

        return spy

    def on_rows(self, function: Any, place: int) -> Any:
        @functools.wraps(function)
        def spy(*given: Any, **options: Any) -> Any:
            self.all_rows.append(given[place])
            return function(*given, **options)

        return spy


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers behind a tensor of one run, inside `vmap` too."""
    if torch._C._functorch.is_batchedtensor(tensor):
        return torch._C._functorch.get_unwrapped(tensor)[0]
    return tensor


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_selection_see_the_noisy_labels_and_never_the_right_ones(
    loss: str, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(loss, noise="symmetric:0.5", epochs=2)
    spies = Spies(monkeypatch, chosen)
    run = train(store, chosen, tmp_path / "run", device="cpu")
    noisy = torch.from_numpy(expected_labels(run))
    clean = torch.tensor([int(name) for name in run.labels()["given_label"].to_pylist()])
    assert (noisy != clean).float().mean() == 0.5
    assert spies.all_rows
    for labels in spies.all_rows:
        assert torch.equal(labels, noisy)
    assert spies.batches
    for labels, rows in spies.batches:
        assert torch.equal(labels, noisy[rows])


@pytest.mark.parametrize(
    "loss", ["proxy-anchor", "prism", "smooth-proxy-anchor", "agreement", "discriminant", "auto"]
)
def test_true_labels_change_the_detection_figures_and_nothing_else(
    loss: str, tmp_path: Path, make_store: Any
) -> None:
    given = [str(row % CLASSES) for row in range(288)]
    generator = np.random.default_rng(0)
    training, test = given[:TRAIN], given[TRAIN:]
    truths = {
        "one": [*generator.permutation(training), *test],
        "two": [*generator.permutation(training), *test],
    }
    runs = {}
    for name, truth in truths.items():
        store = make_store(tmp_path / f"{name}.zarr", given, true_labels=truth, drawn_for=given)
        runs[name] = train(store, settings(loss, budget=600.0), tmp_path / name, device="cpu")
    one, two = runs["one"], runs["two"]
    for part, tensor in one.weights().items():
        assert torch.equal(tensor, two.weights()[part]), part
    assert one.record["history"] == two.record["history"]
    for column in ("id", "label", "given_label", "score", "weight"):
        assert one.labels()[column].equals(two.labels()[column])
    assert not one.labels()["is_wrong"].equals(two.labels()["is_wrong"])
    detections = [run.record["selection"]["detection"] for run in (one, two)]
    assert loss in ("proxy-anchor", "discriminant") or detections[0] != detections[1]


@pytest.mark.parametrize("loss", [*LOSSES, "agreement", "auto"])
def test_training_lifts_recall_above_the_untrained_features(
    loss: str, store: FeatureStore, tmp_path: Path
) -> None:
    chosen = settings(loss, epochs=20, dim=64, batch_size=48, lr=2e-2, proxy_lr=0.1)
    run = train(store, chosen, tmp_path / "run", device="cpu")
    rows = evaluate_run(run, store, device="cpu").rows
    assert rows["run"].recall[1] > rows[UNTRAINED].recall[1] + 0.1
    assert rows["run"].map_at_r > rows[UNTRAINED].map_at_r + 0.05


@pytest.mark.parametrize("loss", ["proxy-anchor", "prism", "smooth-proxy-anchor", "agreement"])
def test_the_same_settings_give_the_same_run_bit_for_bit(
    loss: str, store: FeatureStore, tmp_path: Path
) -> None:
    chosen = settings(loss, noise="symmetric:0.3", seed=3)
    runs = [train(store, chosen, tmp_path / name, device="cpu") for name in ("a", "b")]
    for part, tensor in runs[0].weights().items():
        assert torch.equal(tensor, runs[1].weights()[part]), part
    assert runs[0].labels().equals(runs[1].labels())
    for fact in ("history", "selection", "noise", "counts"):
        assert runs[0].record[fact] == runs[1].record[fact]


@pytest.mark.parametrize("mode", ["exact", "independent"])
def test_the_record_tells_the_realised_noise_and_the_wrong_rows(
    mode: str, store: FeatureStore, tmp_path: Path
) -> None:
    spec = f"symmetric:0.3,mode={mode}"
    run = train(store, settings("none", noise=spec), tmp_path / "run", device="cpu")
    labels = run.labels()
    is_wrong = np.array(labels["is_wrong"])
    used, given = np.array(labels["label"]), np.array(labels["given_label"])
    np.testing.assert_array_equal(is_wrong, used != given)
    rates = {"nominal_rate": 0.3, "realised_rate": is_wrong.mean()}
    assert run.record["noise"] == {"spec": spec, **rates, "seed": 0}
    if mode == "exact":
        assert abs(is_wrong.sum() - 0.3 * TRAIN) <= 1


def test_wrong_is_what_differs_from_the_true_label_where_one_is_known(
    tmp_path: Path, make_store: Any
) -> None:
    true = [str(row % CLASSES) for row in range(288)]
    given = ["0" if row < 40 else name for row, name in enumerate(true)]
    store = make_store(tmp_path / "s.zarr", given, true_labels=true, drawn_for=true)
    for noise in (None, "symmetric:0.3"):
        run = train(store, settings("none", noise=noise), tmp_path / str(noise), device="cpu")
        used = run.labels()["label"].to_pylist()
        expected = [name != right for name, right in zip(used, true[:TRAIN], strict=True)]
        assert run.labels()["is_wrong"].to_pylist() == expected
        assert run.record["selection"]["detection"]["recall"] == 0


def test_noise_does_not_depend_on_loss_or_length_of_the_training(
    store: FeatureStore, tmp_path: Path
) -> None:
    runs = [
        train(store, settings(loss, noise="symmetric:0.5", epochs=e), tmp_path / loss, device="cpu")
        for loss, e in (("none", 1), ("contrastive", 2), ("smooth-proxy-anchor", 3))
    ]
    assert len({tuple(run.labels()["label"].to_pylist()) for run in runs}) == 1


def test_prism_finds_injected_labels(store: FeatureStore, tmp_path: Path) -> None:
    run = train(store, settings("prism", noise="symmetric:0.3"), tmp_path / "run", device="cpu")
    found = run.record["selection"]["detection"]
    assert found["auc"] > 0.7
    assert found["precision"] > 0.5


def test_test_rows_are_neither_trained_on_nor_recorded(store: FeatureStore, tmp_path: Path) -> None:
    run = train(store, settings("prism"), tmp_path / "run", device="cpu")
    assert run.labels()["id"].to_pylist() == [f"{row:04}.jpg" for row in range(TRAIN)]
    assert run.record["counts"]["train"] == TRAIN


def test_progress_is_told_by_epochs(store: FeatureStore, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train(
        store,
        settings("contrastive", epochs=2),
        tmp_path / "run",
        device="cpu",
        progress=lambda *now: seen.append(now),
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_an_unfinished_store_is_refused(tmp_path: Path, make_store: Any) -> None:
    store = make_store(tmp_path / "s.zarr", chunks=1)
    with pytest.raises(StoreIncompleteError):
        train(store, settings("prism"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_settings_and_path_are_checked_before_the_features_are_read(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureStore, "read", None)
    with pytest.raises(InputError, match="epochs is 0"):
        train(store, settings("prism", epochs=0), tmp_path / "run")
    with pytest.raises(InputError, match="choose another --run"):
        train(store, settings("prism"), tmp_path)


def test_a_diverged_training_is_refused_and_leaves_nothing(
    store: FeatureStore, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="training diverged .* lower --set lr"):
        train(store, settings("prism", lr=1e30), tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []
