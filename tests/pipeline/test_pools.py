"""Several pools in one pass: each the same bits as alone, from one run of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from cache.errors import InputError
from pipeline.backbones import _torchvision_network, load_backbone
from pipeline.backbones._backbone import Backbone
from pipeline.backbones._pooling import resolved, stacked
from pipeline.extraction.pictures.images import Transform

from .networks import timm_weights


def pictures(backbone: Backbone) -> Tensor:
    side = backbone.transform.crop
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def check_together(load: Any, pools: list[str], rounded: str = "") -> None:
    """Load all pools together and each alone; but for one they have to give the same bits."""
    together: Backbone = load(",".join(pools))
    assert (together.pool, together.pools) == (",".join(pools), tuple(pools))
    images = pictures(together)
    features = together.embed(images)
    assert features.shape == (2, len(pools), together.num_features)
    for place, pool in enumerate(pools):
        alone: Backbone = load(pool)
        assert (alone.pool, alone.pools) == (pool, (pool,))
        tolerance = 1e-5 if pool == rounded else 0.0
        difference = alone.embed(images)[:, 0] - features[:, place]
        assert difference.abs().max() <= tolerance, pool
        assert alone.weights_sha256 == together.weights_sha256
        assert alone.num_features == together.num_features


@pytest.mark.parametrize(
    ("name", "pools"),
    [
        ("test_resnet", ["max", "avg", "avg+max"]),
        ("test_convnext", ["avg", "max"]),
        ("test_vit", ["avg", "cls", "max"]),
        ("test_vit", ["own", "avg+max"]),
        ("deit_tiny_distilled_patch16_224", ["cls", "dist", "avg"]),
    ],
)
def test_pools_of_timm_together_equal_each_alone(
    tmp_path: Path, name: str, pools: list[str]
) -> None:
    _, file = timm_weights(tmp_path, name)
    check_together(lambda pool: load_backbone(f"timm:{name}", weights=file, pool=pool), pools)


def test_pools_of_torchvision_together_equal_each_alone() -> None:
    torch.manual_seed(0)
    state = models.resnet18().state_dict()
    transform = Transform(
        resize=64, crop=64, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )

    def load(pool: str) -> Backbone:
        model = models.resnet18()
        model.load_state_dict(state)
        return _torchvision_network.pooled(
            name="resnet18", model=model, transform=transform, pool=pool
        )

    # Alone it is the net itself, whose batch normalisation can be folded.
    check_together(load, ["max", "avg"], rounded="avg")


def test_the_tokens_of_a_distilled_deit_can_be_had_alone(tmp_path: Path) -> None:
    name = "deit_tiny_distilled_patch16_224"
    model, file = timm_weights(tmp_path, name)
    backbone = load_backbone(f"timm:{name}", weights=file, pool="cls-only,dist,cls")
    images = pictures(backbone)[:1]
    with torch.inference_mode():
        tokens = model.forward_features(images)  # type: ignore[operator]
    first, second, both = backbone.embed(images)[0]
    assert torch.allclose(first, tokens[0, 0], atol=1e-5)
    assert torch.allclose(second, tokens[0, 1], atol=1e-5)
    assert torch.allclose(both, (first + second) / 2, atol=1e-6)


def test_the_network_runs_once_for_all_pools(tmp_path: Path) -> None:
    _, file = timm_weights(tmp_path, "test_resnet")
    backbone = load_backbone("timm:test_resnet", weights=file, pool="avg,max,avg+max")
    calls: list[nn.Module] = []
    for module in backbone.network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, *_: calls.append(module))
    backbone.embed(pictures(backbone))
    assert len(calls) == len(set(calls)) > 0


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("avg,middle", "unknown pool 'middle': choose from avg, max, avg\\+max, cls, dist, "),
        ("avg,", "unknown pool ''"),
        ("max,avg,max", "the pool 'max' occurs twice in 'max,avg,max': name each once"),
        ("own,avg", "the pool 'own' of .* is 'avg', which is named, too: name one"),
        ("avg,cls", "has no pool 'cls': it has no class token"),
        ("dist", "has no pool 'dist': it has no class token"),
    ],
)
def test_pools_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, pool: str, message: str
) -> None:
    _, file = timm_weights(tmp_path, "test_resnet")
    with pytest.raises(InputError, match=message):
        load_backbone("timm:test_resnet", weights=file, pool=pool)


def test_a_mistyped_pool_is_refused_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timm, "create_model", None)
    monkeypatch.setattr(models, "get_model", None)
    for name in ("timm:resnet18", "torchvision:resnet18"):
        with pytest.raises(InputError, match="unknown pool 'middle'"):
            load_backbone(name, pool="middle")


def test_a_vit_without_a_distillation_token_has_no_such_pool(tmp_path: Path) -> None:
    _, file = timm_weights(tmp_path, "test_vit")
    for pool in ("dist", "cls,cls-only"):
        with pytest.raises(InputError, match="it has no distillation token, as a distilled DeiT"):
            load_backbone("timm:test_vit", weights=file, pool=pool)


def test_pools_of_unequal_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"pools of net differ in length \(avg 3, own 5\)"):
        stacked("net", {"avg": torch.zeros(1, 3), "own": torch.zeros(1, 5)})


def test_own_takes_the_name_of_the_pool_it_is() -> None:
    assert resolved("net", (), "cls") == ("cls",)
    assert resolved("net", ("max", "own"), "cls") == ("max", "cls")
