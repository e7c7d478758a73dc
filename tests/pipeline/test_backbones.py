"""Loading frozen backbones: weights, pools, transforms and the errors around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor
from torchvision import models

from cache.errors import InputError
from pipeline.backbones import _torchvision_network, load_backbone
from pipeline.backbones._backbone import Backbone
from pipeline.extraction.pictures.images import Transform, normalise, prepare

from .networks import timm_weights

SMALL = Transform(
    resize=64, crop=64, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def pictures(backbone: Backbone) -> Tensor:
    side = backbone.transform.crop
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def pixels_of(image: Image.Image, transform: Transform) -> Tensor:
    return normalise(torch.from_numpy(prepare(image, transform)[None].copy()), transform)[0]


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (301, 403, 3), np.uint8))


# --- the packaged backbone


def test_the_packaged_backbone_needs_no_network_and_is_frozen() -> None:
    backbone = load_backbone("efficientnet_lite0")
    assert (backbone.num_features, backbone.pool) == (1280, "avg")
    assert not any(module.training for module in backbone.network.modules())
    assert not any(weight.requires_grad for weight in backbone.network.parameters())
    facts = backbone.transform
    assert (facts.resize, facts.crop, facts.interpolation) == (256, 224, "bicubic")
    assert facts.mean == facts.std == (0.5, 0.5, 0.5)
    assert len(backbone.weights_sha256) == 64
    assert backbone.weights_sha256 == load_backbone("efficientnet_lite0").weights_sha256


def test_the_packaged_backbone_takes_a_file_with_timms_names(tmp_path: Path) -> None:
    _, file = timm_weights(tmp_path, "tf_efficientnet_lite0")
    ours = load_backbone("efficientnet_lite0", weights=file)
    theirs = load_backbone("timm:tf_efficientnet_lite0", weights=file)
    assert ours.weights_sha256 == theirs.weights_sha256
    assert ours.transform == theirs.transform


# --- timm


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
def test_the_default_pool_of_timm_gives_what_the_classifier_would_see(
    tmp_path: Path, name: str
) -> None:
    model, file = timm_weights(tmp_path, name)
    backbone = load_backbone(f"timm:{name}", weights=file)
    images = pictures(backbone)
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
    features = backbone.embed(images)
    assert features.dtype == torch.float32
    assert features.shape == (2, 1, backbone.num_features)
    assert torch.allclose(features[:, 0], expected, rtol=1e-4, atol=1e-5)
    again = load_backbone(f"timm:{name}", weights=file, pool=backbone.pool)
    assert torch.equal(again.embed(images), features)


def test_the_pools_of_a_map_are_taken_over_its_positions(tmp_path: Path) -> None:
    model, file = timm_weights(tmp_path, "test_resnet")
    pools = {
        pool: load_backbone("timm:test_resnet", weights=file, pool=pool)
        for pool in ("avg", "max", "avg+max")
    }
    images = pictures(pools["avg"])
    with torch.inference_mode():
        feature_map = model.forward_features(images)  # type: ignore[operator]
    expected = {"avg": feature_map.mean(dim=(2, 3)), "max": feature_map.amax(dim=(2, 3))}
    expected["avg+max"] = expected["avg"] + expected["max"]
    for pool, backbone in pools.items():
        assert torch.allclose(backbone.embed(images)[:, 0], expected[pool], atol=1e-5)
        assert backbone.weights_sha256 == pools["avg"].weights_sha256
    with pytest.raises(InputError, match="no pool 'cls'"):
        load_backbone("timm:test_resnet", weights=file, pool="cls")


def test_maps_with_the_channels_last_are_pooled_over_height_and_width(tmp_path: Path) -> None:
    model, file = timm_weights(tmp_path, "swin_s3_tiny_224")
    backbone = load_backbone("timm:swin_s3_tiny_224", weights=file, pool="max")
    images = pictures(backbone)[:1]
    with torch.inference_mode():
        expected = model.forward_features(images).amax(dim=(1, 2))  # type: ignore[operator]
    assert torch.allclose(backbone.embed(images)[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "num_prefix"), [("deit_small_patch16_224", 1), ("deit_small_distilled_patch16_224", 2)]
)
def test_deit_small_plain_and_distilled(tmp_path: Path, name: str, num_prefix: int) -> None:
    model, file = timm_weights(tmp_path, name)
    own = load_backbone(f"timm:{name}", weights=file)
    assert (own.pool, own.num_features) == ("cls", 384)
    images = pictures(own)[:1]
    with torch.inference_mode():
        tokens = model.forward_features(images)  # type: ignore[operator]
    cls, patches = tokens[:, :num_prefix].mean(dim=1), tokens[:, num_prefix:]
    assert patches.shape[1] == 14 * 14
    assert torch.allclose(own.embed(images)[:, 0], cls, atol=1e-5)
    both = load_backbone(f"timm:{name}", weights=file, pool="avg+max")
    expected = patches.mean(dim=1) + patches.amax(dim=1)
    assert torch.allclose(both.embed(images)[:, 0], expected, atol=1e-5)
    assert both.weights_sha256 == own.weights_sha256


@pytest.mark.parametrize(
    "name", ["test_vit", "swin_s3_tiny_224", "convnext_base.fb_in22k_ft_in1k_384"]
)
def test_the_transform_of_timm_equals_its_own_bit_for_bit(name: str) -> None:
    from pipeline.backbones._timm_network import _transform

    with torch.device("meta"):
        model = timm.create_model(name)
    reference = create_transform(**resolve_data_config(model=model, use_test_size=False))
    assert torch.equal(pixels_of(picture(), _transform(name, model)), reference(picture()))


# --- torchvision


@pytest.mark.parametrize(
    ("name", "pools"),
    [
        ("resnet18", ["avg", "max", "avg+max"]),
        ("efficientnet_b0", ["avg", "max", "avg+max"]),
        ("mobilenet_v3_small", ["avg"]),
        pytest.param("densenet121", ["avg", "max", "avg+max"], marks=pytest.mark.slow),
        pytest.param("convnext_tiny", ["avg"], marks=pytest.mark.slow),
        pytest.param("swin_t", ["avg", "max", "avg+max"], marks=pytest.mark.slow),
        pytest.param("vit_b_16", ["cls"], marks=pytest.mark.slow),
    ],
)
def test_torchvision_gives_what_the_last_linear_layer_would_get(
    name: str, pools: list[str]
) -> None:
    torch.manual_seed(0)
    side = 224 if name == "vit_b_16" else 64
    transform = Transform(
        resize=side, crop=side, interpolation="bilinear", mean=SMALL.mean, std=SMALL.std
    )
    images = torch.randn(2, 3, side, side)
    model = models.get_model(name, weights=None).eval()
    last = model.get_submodule(_torchvision_network.last_linear(name, model))
    seen: list[Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(images)
    state = model.state_dict()

    def load(pool: str | None) -> Backbone:
        fresh = models.get_model(name, weights=None)
        fresh.load_state_dict(state)
        return _torchvision_network.pooled(name=name, model=fresh, transform=transform, pool=pool)

    own = load(None)
    assert own.pool == pools[0]
    assert torch.allclose(own.embed(images)[:, 0], seen[0], rtol=1e-4, atol=1e-5)
    for pool in ("avg", "max", "avg+max", "cls"):
        if pool not in pools:
            with pytest.raises(InputError, match=r"has no pool .*timm:NAME"):
                load(pool)
    if "max" in pools:
        average, largest, both = own.embed(images), load("max"), load("avg+max")
        assert (largest.embed(images) >= average - 1e-5).all()
        assert torch.allclose(both.embed(images), average + largest.embed(images), atol=1e-4)
        assert largest.weights_sha256 == own.weights_sha256


def test_resnet50_has_the_transform_of_its_current_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = models.resnet50()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    backbone = load_backbone("resnet50", weights=tmp_path / "weights.pt")
    assert (backbone.name, backbone.num_features, backbone.pool) == ("resnet50", 2048, "avg")
    reference = models.ResNet50_Weights.IMAGENET1K_V2.transforms()(picture())
    assert torch.equal(pixels_of(picture(), backbone.transform), reference)
