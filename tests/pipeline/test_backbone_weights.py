"""Weights of backbones: from files, by name, and from downloads that fail."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from cache.errors import InputError
from pipeline.backbones import load_backbone
from pipeline.backbones._weights import WeightsUnavailableError

# --- weights from files
from .networks import timm_weights


def test_the_format_of_the_file_makes_no_difference(tmp_path: Path) -> None:
    model, pth = timm_weights(tmp_path, "test_resnet")
    state = model.state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "a.pt")
    headless = {k: v for k, v in state.items() if not k.startswith("fc.")}
    torch.save({"model": headless | {"fc.weight": torch.zeros(7, 5)}}, tmp_path / "b.pth")
    digests = {
        load_backbone("timm:test_resnet", weights=file).weights_sha256
        for file in (pth, *(tmp_path / n for n in ("weights.safetensors", "a.pt", "b.pth")))
    }
    assert len(digests) == 1
    next(iter(state.values())).mul_(2)
    torch.save(state, tmp_path / "c.pth")
    assert (
        load_backbone("timm:test_resnet", weights=tmp_path / "c.pth").weights_sha256 not in digests
    )


def test_weights_of_another_architecture_are_refused_with_the_first_three_names(
    tmp_path: Path,
) -> None:
    _, file = timm_weights(tmp_path, "test_convnext")
    with pytest.raises(InputError, match=r"lacks conv1\.\S+, \S+, \S+ and \d+ more") as caught:
        load_backbone("timm:test_resnet", weights=file)
    assert "\n" not in str(caught.value)


def test_an_unknown_and_a_misshaped_weight_are_refused(tmp_path: Path) -> None:
    model, file = timm_weights(tmp_path, "test_resnet")
    state = model.state_dict()
    torch.save(state | {"extra": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="has the unknown extra:"):
        load_backbone("timm:test_resnet", weights=file)
    first = next(iter(state))
    torch.save(state | {first: torch.zeros(1)}, file)
    with pytest.raises(InputError, match=f"has another shape of {first}:"):
        load_backbone("timm:test_resnet", weights=file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pth", None, "do not exist"),
        ("weights.bin", b"", "not a .safetensors"),
        ("weights.safetensors", b"nonsense", "cannot be read"),
        ("weights.pth", b"nonsense", "cannot be read"),
        ("weights.pth", b"", "cannot be read"),
    ],
)
def test_unreadable_weights_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_backbone("timm:test_resnet", weights=tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"hold (no state dict|more than tensors)"):
        load_backbone("timm:test_resnet", weights=tmp_path / "weights.pt")


def test_a_pickled_model_is_not_executed(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="more than tensors"):
        load_backbone("timm:test_resnet", weights=tmp_path / "weights.pt")


# --- names and downloads


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt50", "did you mean 'resnet50'"),
        ("timm", "name one of them as timm:NAME"),
        ("timm:", "name one of them as timm:NAME"),
        ("timm:deit_smal_patch16_224", "did you mean 'deit_small_patch16_224'"),
        ("timm:resnet18.nonsense", "unknown weights of timm"),
        ("torchvision:resnet19", "did you mean 'resnet1"),
        ("torchvision:inception_v3", "side classifiers"),
        ("resnet50:x", "did you mean 'resnet50'"),
        ("_backbone", "unknown backbone"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_backbone(name)


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(InputError, match="unknown pool 'mean'"):
        load_backbone("efficientnet_lite0", pool="mean")


def test_a_failed_download_from_torchvision_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(models, "get_model", fail)
    with pytest.raises(
        WeightsUnavailableError, match=r"--weights FILE.*efficientnet_lite0"
    ) as caught:
        load_backbone("resnet50")
    assert "\n" not in str(caught.value)


def test_timm_asks_the_hub_once_and_does_not_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.backbones import timm as family

    asked: list[str] = []

    def fail(url: str) -> None:
        asked.append(url)
        raise ConnectionError("no route to host")

    def download(*_args: object, **_options: object) -> None:
        raise AssertionError("timm would retry for a minute")

    monkeypatch.setattr(family, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(family, "get_hf_file_metadata", fail)
    monkeypatch.setattr(timm, "create_model", download)
    with pytest.raises(WeightsUnavailableError, match="timm:resnet18 .*--weights FILE"):
        load_backbone("timm:resnet18")
    assert len(asked) == 1
