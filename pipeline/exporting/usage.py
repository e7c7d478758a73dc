"""The programs that a model card shows: each runs alone in the card's folder, without dml."""

from __future__ import annotations

from pipeline.transforms.chain import Chain

_PICTURES = '''import json
import sys

import numpy as np
{imports}from PIL import Image, ImageOps

with open("card.json", encoding="utf-8") as file:
    how = json.load(file)["preprocessing"]["transform"]


def prepare(path):
    """Decode, resize, crop the centre: (3, H, W) uint8."""
    image = Image.open(path)
    if how["exif_rotation"]:
        image = ImageOps.exif_transpose(image)
    image = image.convert("RGB")
    side, crop, (width, height) = how["resize"], how["crop"], image.size
    if how["resize_mode"] == "squash":
        size = side, side
    elif width <= height:
        size = side, int(side * height / width)
    else:
        size = int(side * width / height), side
    image = image.resize(size, Image.Resampling[how["interpolation"].upper()])
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    return np.asarray(image.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)


{load}


def embed(paths):
    """Embed pictures: (N, D) float32 of unit norm."""
    batches = [paths[start : start + 32] for start in range(0, len(paths), 32)]
    return np.concatenate([run(np.stack([prepare(path) for path in each])) for each in batches])


embeddings = embed(sys.argv[1:])
np.save("embeddings.npy", embeddings)
print((-(embeddings @ embeddings.T)).argsort(axis=1))  # of each picture the nearest first: itself
'''

_FEATURES = """import sys

import numpy as np
{imports}
{load}


features = np.load(sys.argv[1]).astype(np.float32)  # (N, F), as the backbone gives them
embeddings = run(features)  # (N, D) of unit norm
np.save("embeddings.npy", embeddings)
print((-(embeddings @ embeddings.T)).argsort(axis=1))  # of each row the nearest first: itself
"""

_ONNX = """session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])


def run(inputs):
    return session.run(None, {{"{name}": inputs}})[0]"""

_TORCHSCRIPT = """model = torch.jit.load("{file}")


def run(inputs):
    with torch.inference_mode():
        return model(torch.from_numpy(inputs)).numpy()"""

_SAFETENSORS = """head = load_file("{file}")


def run(inputs):
{power}    rows = (inputs - head["mean"]) / head["scale"]
{matrix}{hidden}    projected = {projected}
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)"""

_POWER = '    inputs = np.sign(inputs) * np.abs(inputs) ** head["power"]\n'
_MATRIX = '    rows = rows @ head["matrix"]\n'
_HIDDEN = '    hidden = np.maximum(rows @ head["hidden_weight"] + head["hidden_bias"], 0)\n'
_PROJECTED = {
    "linear": 'rows @ head["weight"] + head["bias"]',
    "residual": 'rows @ head["weight"] + head["bias"] + hidden @ head["residual"]',
    "mlp": 'hidden @ head["weight"] + head["bias"]',
}

_LOADING = {
    "onnx": ("import onnxruntime\n", _ONNX, "onnxruntime"),
    "torchscript": ("import torch\n", _TORCHSCRIPT, "torch"),
    "safetensors": ("from safetensors.numpy import load_file\n", _SAFETENSORS, "safetensors"),
}


def program(
    kind: str, file: str, name: str, *, with_backbone: bool, chain: Chain, head: str
) -> str:
    """Write the Python program that embeds with an exported file.

    Args:
        kind: "onnx", "torchscript" or "safetensors".
        file: name of the file.
        name: of its input.
        with_backbone: whether the input is pictures.
        chain: what is done to features before the head.
        head: "linear", "residual" or "mlp".
    """
    imports, load, _ = _LOADING[kind]
    frame = _PICTURES if with_backbone else _FEATURES
    steps = {
        "power": "" if chain.power is None else _POWER,
        "matrix": _MATRIX if chain.has_matrix else "",
        "hidden": "" if head == "linear" else _HIDDEN,
        "projected": _PROJECTED[head],
    }
    load = load.format(file=_escaped(file), name=name, **steps)
    return frame.format(imports=imports, load=load)


def needs(kind: str, *, with_backbone: bool) -> str:
    """Name the packages that the program needs."""
    return " ".join(["numpy", _LOADING[kind][2], *(["pillow"] if with_backbone else [])])


def _escaped(file: str) -> str:
    """Write a file's name so that it can stand in a text of a program."""
    return file.encode("unicode_escape").decode().replace('"', '\\"')
