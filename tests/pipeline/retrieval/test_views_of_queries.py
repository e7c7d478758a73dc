"""Photos from anywhere are averaged over the same views as the images of the store."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import FeatureStore
from pipeline.backbones._backbone import Backbone
from pipeline.datasets import load_manifest
from pipeline.extract import extract
from pipeline.extraction.pictures.views import Augmentation
from pipeline.retrieval.queries import embed_images, stored_images
from pipeline.retrieval.space import Space, space_of


@pytest.fixture
def averaged(shop: Path, tmp_path: Path, flat_backbone: Backbone) -> Space:
    """The untrained space of the val photos' means over three pictures each."""
    manifest = load_manifest(shop / "photos" / "val")
    path = tmp_path / "views.zarr"
    views = Augmentation(views=2, seed=5)
    extract(manifest, path, flat_backbone, dtype="float16", device="cpu", augmentation=views)
    return space_of(None, FeatureStore.open(path, "avg@mean"), device="cpu")


def test_a_photo_of_the_store_has_the_embedding_of_its_row_wherever_it_lies(
    averaged: Space, shop: Path, tmp_path: Path
) -> None:
    photo = shop / "photos" / "val" / "red" / "1.png"
    shutil.copy(photo, tmp_path / "copy.png")
    stored = stored_images(averaged, ["red/1.png"]).embeddings
    found = embed_images(averaged, [str(photo), str(tmp_path / "copy.png")]).embeddings
    np.testing.assert_array_equal(found, np.concatenate([stored, stored]))
    plain = space_of(None, averaged.store.choose("avg"), device="cpu")
    assert not np.allclose(embed_images(plain, [str(photo)]).embeddings, stored)


def test_views_of_another_photo_depend_on_its_content_alone(
    averaged: Space, shop: Path, tmp_path: Path
) -> None:
    photo = shop / "photos" / "test" / "blue" / "0.png"
    shutil.copy(photo, tmp_path / "renamed.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = [str(photo), "gone.png", str(tmp_path / "renamed.png"), str(tmp_path / "broken.png")]
    found = embed_images(averaged, names)
    np.testing.assert_array_equal(found.embeddings[0], found.embeddings[1])
    assert list(found.unreadable.values()) == ["file not found", "not a known image format"]
