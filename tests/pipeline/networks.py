"""Networks with weights on disk, for the tests of backbones."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import nn


def timm_weights(folder: Path, name: str) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name).eval()
    torch.save(model.state_dict(), folder / "weights.pth")
    return model, folder / "weights.pth"
