"""The way of an accelerator, as far as it can be watched on a CPU: order, padding, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.backbones._backbone import Backbone, freeze
from pipeline.extraction import overlap
from pipeline.extraction.loading import Loaded
from pipeline.extraction.pictures.images import Transform

CPU = torch.device("cpu")
TRANSFORM = Transform(resize=4, crop=4, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


class Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def backbone() -> Backbone:
    network = Mean()
    return freeze(name="mean", model=network, network=network, transform=TRANSFORM, pool="avg")


def grey(first: int, count: int, size: int) -> Loaded:
    """Pictures of one grey each: file n has level 10 n; the batch is padded to `size`."""
    pixels = torch.zeros(1, size, 3, 4, 4, dtype=torch.uint8)
    for place in range(count):
        pixels[0, place] = 10 * (first + place)
    images = np.full((count, 40), first, np.uint8)
    return Loaded(range(first, first + count), pixels, {first: "broken"}, images)


def test_features_come_in_order_without_the_padding() -> None:
    batches = [grey(0, 3, 3), grey(3, 3, 3), grey(6, 1, 3)]
    found = list(overlap.embed_overlapped(backbone(), batches, device=CPU, precision="float32"))
    assert [batch.files for batch in found] == [range(3), range(3, 6), range(6, 7)]
    assert [batch.unreadable for batch in found] == [{0: "broken"}, {3: "broken"}, {6: "broken"}]
    assert np.concatenate([batch.images for batch in found])[:, 0].tolist() == [0] * 3 + [3] * 3 + [
        6
    ]
    values = np.concatenate([batch.values for batch in found])
    assert values.shape == (7, 1, 3)
    assert np.allclose(values[:, 0, 0], (10 * np.arange(7) / 255 - 0.5) / 0.5, atol=1e-6)


def test_a_result_is_awaited_when_the_next_batch_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def begin(loaded: Loaded, *_: Any) -> Any:
        events.append(f"begin {loaded.files.start}")
        return lambda: events.append(f"end {loaded.files.start}")

    monkeypatch.setattr(overlap, "_begin", begin)
    batches = [grey(first, 1, 1) for first in range(3)]
    list(overlap.embed_overlapped(backbone(), batches, device=CPU, precision="float32"))
    assert events == ["begin 0", "begin 1", "end 0", "begin 2", "end 1", "end 2"]


def test_no_batches_give_no_features() -> None:
    none: Iterator[Loaded] = iter(())
    found = overlap.embed_overlapped(backbone(), none, device=CPU, precision="float32")
    assert list(found) == []


def test_a_network_that_cannot_be_compiled_runs_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing(nn.Module):
        def forward(self, _images: Tensor) -> Tensor:
            raise RuntimeError("no C compiler\n was found")

    monkeypatch.setattr(torch, "compile", lambda network, **_: Refusing())
    given, remarks = backbone(), list[str]()
    options: Any = {"device": CPU, "precision": "float32", "size": 2}
    assert overlap.compiled(given, **options, remark=remarks.append) is given
    reason = "torch.compile failed: no C compiler was found"
    assert remarks == [f"the network ran uncompiled, because {reason}"]


def test_a_network_is_compiled_for_one_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    seen: list[tuple[int, ...]] = []

    def compile_(network: nn.Module, **options: Any) -> nn.Module:
        asked.update(options)
        watched = nn.Sequential(network)
        watched.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
        return watched

    monkeypatch.setattr(torch, "compile", compile_)
    given, remarks = backbone(), list[str]()
    options: Any = {"device": CPU, "precision": "float32", "size": 5}
    assert overlap.compiled(given, **options, remark=remarks.append) is not given
    assert (asked, seen, remarks) == ({"dynamic": False}, [(5, 3, 4, 4)], [])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_each_file_its_own_features_while_batches_overlap() -> None:
    cuda, size = torch.device("cuda"), 8
    given = backbone()
    given.network.to(cuda)

    def pinned() -> Iterator[Loaded]:
        for number in range(20):
            loaded = grey(0, size, size)
            pixels = (loaded.pixels + number).pin_memory()
            files = range(number * size, (number + 1) * size)
            yield Loaded(files, pixels, {}, loaded.images)

    found = list(overlap.embed_overlapped(given, pinned(), device=cuda, precision="float32"))
    for number, batch in enumerate(found):
        levels = 10 * np.arange(size) + number
        assert np.allclose(batch.values[:, 0, 0], (levels / 255 - 0.5) / 0.5, atol=1e-5)
