"""The space that is searched: the embeddings of a run, or the untrained features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.store import FeatureStore
from pipeline.evaluate import UNTRAINED, embedder, normalized
from pipeline.extraction.embed import pick_device
from pipeline.retrieval.exact import Embeddings
from pipeline.runs.opening import refuse_other_store
from pipeline.runs.record import Run
from pipeline.transforms.transform import NAMES

_DECIDING = (*NAMES, "head.")  # what the names of a run's tensors begin with


@dataclass(frozen=True)
class Space:
    """What turns raw features into what is searched.

    Attributes:
        name: of the run, or "untrained".
        run: None for the untrained features.
        store: with the features that the run was trained on, or those that were asked for.
        device: where features are embedded.
        digest: hex sha256 of the run's transform and head; "untrained" without.
        embed_tensor: raw features (n, F) on the device -> (n, D) of unit norm.
    """

    name: str
    run: Run | None
    store: FeatureStore
    device: torch.device
    digest: str
    embed_tensor: Callable[[Tensor], Tensor]

    def embed(self, features: NDArray[np.floating]) -> Embeddings:
        """Embed raw features (n, F) of the store's float type: (n, D) float32 of unit norm."""
        with torch.inference_mode():
            embeddings = self.embed_tensor(torch.from_numpy(features).to(self.device))
        values: Embeddings = np.ascontiguousarray(embeddings.float().cpu().numpy())
        return values

    @property
    def embedding_dim(self) -> int:
        """Length D of an embedding."""
        none = np.zeros((1, self.store.num_features), self.store.on_disk().dtype)
        return int(self.embed(none).shape[1])


def space_of(run: Run | None, store: FeatureStore, *, device: str = "auto") -> Space:
    """Prepare the space of a run, by its head after the last epoch.

    Args:
        run: None, or one without a head, is the space of the untrained features.
        store: the one that the run was trained on.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: the store is another one, or there is no such device.
    """
    target = pick_device(device)
    if run is not None:
        refuse_other_store(run, store)
        store = store.choose(run.settings.features)
    if run is None or not run.settings.has_head:
        return Space(UNTRAINED, None, store, target, UNTRAINED, normalized)
    return Space(run.path.name, run, store, target, _digest(run), embedder(run, target))


def _digest(run: Run) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(run.weights().items()):
        if name.startswith(_DECIDING):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
