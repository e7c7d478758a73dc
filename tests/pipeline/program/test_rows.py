"""Rows that stay on the disk train like resident ones, to the last bit, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cache import FeatureStore, StoreCorruptError
from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.assembly import method_of
from pipeline.choices.settings import Settings
from pipeline.program import rows as rows_module
from pipeline.program.fit import Fit, fit
from pipeline.program.learner import Task
from pipeline.program.method import Method
from pipeline.program.rows import (
    Rows,
    Streamed,
    batches,
    chosen,
    gathered,
    mapped,
    raw_tiles,
    tiles,
)
from pipeline.program.schedule import Schedule
from pipeline.program.seeds import Seeds
from pipeline.transforms.fitting import fit as fit_transform

CPU = torch.device("cpu")
SCHEDULE = Schedule(epochs=3, dim=8, lr=3e-3, proxy_lr=1e-2, weight_decay=1e-4)
TRAIN = np.flatnonzero(np.arange(288) % 3 > 0)  # two of three rows, across all chunks


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 50 rows, so that several are needed."""
    monkeypatch.setattr(rows_module, "_TILE", 24 * 50)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    yield
    assert not [each for each in threading.enumerate() if each.name.startswith("rows")]


def stored(store: FeatureStore, memory: int = 40_000) -> Streamed:
    disk = store.on_disk()
    return Streamed(disk, np.arange(disk.num_rows), CPU, memory)


def both(store: FeatureStore) -> tuple[Tensor, Rows]:
    """The centred training rows, resident and on the disk."""
    values = torch.from_numpy(store.read().values)
    centring = fit_transform("centre", lambda: raw_tiles(values, TRAIN))
    resident = chosen(values, TRAIN, centring)
    assert isinstance(resident, Tensor)
    return resident, chosen(stored(store), TRAIN, centring)


def method(loss: str, selection: str | None = None, **changes: Any) -> Method:
    settings = Settings(loss=loss, selection=selection, batch_size=24, **changes)
    known = catalogue.find("selection", settings.recipe.selection).options
    options = {f"select.{name}": 0.3 for name, option in known.items() if option.is_required}
    return method_of(settings.replaced(options=options).check())


def train(features: Rows, chosen: Method) -> Fit | InputError:
    labels = torch.arange(len(TRAIN)) % 6
    (found,) = fit(features, [Task(labels, 6, chosen, SCHEDULE, Seeds.of(1))])
    return found


@pytest.mark.parametrize(
    ("loss", "selection", "changes"),
    [
        ("multi-similarity", "none", {}),
        ("contrastive", "prism-vmf", {}),
        ("proxy-anchor", "none", {}),
        ("soft-triple", "prism", {}),
        ("memory-contrastive", "none", {"bank": "full"}),
        ("memory-contrastive", "none", {"bank": "queue"}),
        ("prism", None, {}),
        ("prism-parity", None, {}),
        ("co-teaching", None, {}),
    ],
)
def test_training_from_the_disk_is_training_on_resident_rows_bit_for_bit(
    store: FeatureStore, loss: str, selection: str | None, changes: dict[str, Any]
) -> None:
    resident, streamed = both(store)
    expected = train(resident, method(loss, selection, **changes))
    assert isinstance(expected, Fit)
    found = train(streamed, method(loss, selection, **changes))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_every_way_to_look_at_rows_on_the_disk_gives_the_resident_ones(store: FeatureStore) -> None:
    resident, streamed = both(store)
    assert streamed.shape == resident.shape
    assert torch.equal(torch.cat(list(tiles(streamed, 7))), resident)
    assert torch.equal(mapped(torch.neg, streamed), -resident)
    odd = torch.tensor([5, 5, 0, 191, 7])
    assert torch.equal(streamed[odd], resident[odd])
    values = torch.from_numpy(store.read().values)
    assert torch.equal(gathered(stored(store), TRAIN, torch.neg), -values[TRAIN])


def test_batches_come_with_their_rows_and_absent_places_with_row_0(store: FeatureStore) -> None:
    resident, streamed = both(store)
    index = torch.randint(-1, len(TRAIN), (40, 6), generator=torch.Generator().manual_seed(0))
    seen = [(rows, source[rows.clamp_min(0)]) for rows, source in batches(streamed, index)]
    assert torch.equal(torch.stack([rows for rows, _ in seen]), index)
    assert torch.equal(torch.stack([values for _, values in seen]), resident[index.clamp_min(0)])


@pytest.mark.parametrize(("memory", "steps"), [(1, 1), (10 * 3 * 6 * 24 * 4, 10), (10**9, 20)])
def test_a_window_is_as_large_as_the_memory_allows_and_a_part_of_the_epoch(
    store: FeatureStore, memory: int, steps: int
) -> None:
    index = torch.arange(20 * 16 * 6).view(-1, 6) % 288  # 320 steps of 6 rows
    sources = [id(source) for _, source in batches(stored(store, memory), index)]
    assert sources.index(next(each for each in sources if each != sources[0])) == steps


@pytest.mark.parametrize("name", ["knn", "confidence", "curriculum"])
def test_a_selection_that_needs_all_rows_at_once_is_refused_in_one_line(
    store: FeatureStore, name: str
) -> None:
    refused = train(both(store)[1], method("softmax", name))
    assert isinstance(refused, InputError)
    assert str(refused).startswith(f"--select {name} looks at all 192 x 24 features at once")
    assert "give more --memory, or use another --select" in str(refused)
    assert "\n" not in str(refused)


def test_a_loss_that_needs_all_rows_at_once_is_refused_in_one_line(store: FeatureStore) -> None:
    refused = train(both(store)[1], method("hierarchical-triplet", "none"))
    assert isinstance(refused, InputError)
    assert str(refused).startswith("--loss hierarchical-triplet looks at all 192 x 24 features")


def failing(after: int) -> Callable[[Tensor], Tensor]:
    count = iter(range(after))

    def change(rows: Tensor) -> Tensor:
        if len(rows) and next(count, None) is None:
            raise StoreCorruptError("chunk 1 is missing")
        return rows

    return change


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_error_while_rows_are_read_ends_the_training(store: FeatureStore, after: int) -> None:
    features = stored(store).only(TRAIN).then(failing(after))
    with pytest.raises(StoreCorruptError, match="chunk 1 is missing"):
        train(features, method("proxy-anchor", "none"))


def test_an_interrupted_epoch_leaves_no_thread(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.program.alone.step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(both(store)[1], method("proxy-anchor", "none"))


def test_a_damaged_chunk_is_noticed_before_the_training(
    make_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = make_store(tmp_path / "features.zarr")
    chunk = tmp_path / "features.zarr" / "features" / "c" / "1" / "0"
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreCorruptError, match="chunk 1"):
        fit_transform("centre", lambda: raw_tiles(stored(store), TRAIN))
