"""Tiny pictures, folders of given files, and archives of folders."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(number: int) -> bytes:
    """A PNG of 8 x 8 random pixels; its size differs by number."""
    generator = np.random.default_rng(number)
    stream = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (8, 8 + number % 5, 3), np.uint8)).save(
        stream, "png"
    )
    return stream.getvalue()


@pytest.fixture(name="picture")
def picture_() -> Callable[[int], bytes]:
    return picture


@pytest.fixture
def make() -> Callable[..., Path]:
    """Write files, texts or bytes by path; a picture for each path of `images`."""

    def write(
        root: Path, files: Mapping[str, str | bytes], images: list[str] | None = None
    ) -> Path:
        drawn = {name: picture(number) for number, name in enumerate(images or [])}
        for name, content in {**files, **drawn}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            (root / name).write_bytes(data)
        return root

    return write


@pytest.fixture
def pack() -> Callable[[Path, Path], Path]:
    """Put everything below a folder into a zip or tar, with paths relative to it."""

    def write(folder: Path, archive: Path) -> Path:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
                for path in files:
                    target.write(path, path.relative_to(folder).as_posix())
        else:
            with tarfile.open(archive, "w") as target:
                for path in files:
                    target.add(path, "./" + path.relative_to(folder).as_posix())
        return archive

    return write
