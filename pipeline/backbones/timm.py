"""Any model of the timm library, as timm:NAME (for example timm:deit_small_patch16_224).

Convolutional nets have the pools avg, max and avg+max; token models also cls. The default is the
one that the model was trained with, avg for nearly all convolutional nets. Of a distilled DeiT,
cls is the mean of the class and the distillation token; cls-only and dist are each alone. avg,max
gives several in one pass. The transform is the one stated with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from cache.errors import InputError
from pipeline.backbones._backbone import Backbone
from pipeline.backbones._pooling import split_pools
from pipeline.backbones._timm_network import TimmModel, pooled
from pipeline.backbones._weights import fetching, load_weights
from pipeline.choices.catalogue import unknown

IS_FAMILY = True
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # those that timm looks for, in this order


def load(*, name: str, weights: Path | None, pool: str | None) -> Backbone:
    """Load it; see `pipeline.backbones.load_backbone`."""
    split_pools(pool)  # before anything is downloaded
    model = _published(name) if weights is None else _from_file(name, weights)
    return pooled(name=name, model=model, pool=pool)


def _from_file(name: str, weights: Path) -> TimmModel:
    model: TimmModel = timm.create_model(_member(name))
    layers = model.pretrained_cfg.get("classifier") or ()
    load_weights(model, weights, classifier=(layers,) if isinstance(layers, str) else layers)
    model.reset_classifier(0)
    return model


def _published(name: str) -> TimmModel:
    member = _member(name)
    facts = timm.get_pretrained_cfg(member)
    if facts is None or not facts.has_weights:
        raise InputError(f"{name} has no published weights: give a file with --weights FILE")
    with fetching(name):
        _check_reachable(facts)
        return timm.create_model(member, pretrained=True, num_classes=0)


def _check_reachable(facts: Any) -> None:
    """Ask the hub once; the download itself would try for minutes before it gives up."""
    if not facts.hf_hub_id:
        return
    files: Sequence[str] = (facts.hf_hub_filename,) if facts.hf_hub_filename else _HUB_FILES
    if any(isinstance(try_to_load_from_cache(facts.hf_hub_id, file), str) for file in files):
        return
    with suppress(EntryNotFoundError):  # the hub answers then, and may have the other file
        get_hf_file_metadata(hf_hub_url(facts.hf_hub_id, files[0]))


def _member(name: str) -> str:
    member = name.removeprefix("timm:")
    if not timm.is_model(member):
        raise unknown("model of timm", member, timm.list_models())
    tags = timm.list_pretrained(f"{member.partition('.')[0]}.*")
    if "." in member and member not in tags:
        raise unknown("weights of timm", member, tags)
    return member
