"""Miniature data folders, written where a test wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_image(path: Path, colour: int = 100, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(colour).integers(0, 40, (size[1], size[0], 3))
    Image.fromarray((noise + colour % 200).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def image() -> Callable[..., Path]:
    """Writes one small image file."""
    return write_image


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """The official layout of CUB-200-2011: 3 classes of 4 images, the first two of each for training."""
    root = tmp_path / "cub"
    names = [f"{c:03d}.Bird_{c}" for c in (1, 2, 3)]
    paths = [f"{name}/{name}_{k}.jpg" for name in names for k in range(4)]
    for k, path in enumerate(paths):
        write_image(root / "images" / path, 17 * k)
    lines = {
        "images.txt": [f"{k} {path}" for k, path in enumerate(paths, 1)],
        "classes.txt": [f"{c} {name}" for c, name in enumerate(names, 1)],
        "train_test_split.txt": [f"{k} {int((k - 1) % 4 < 2)}" for k in range(1, 13)],
        "image_class_labels.txt": [f"{k} {(k - 1) // 4 + 1}" for k in range(1, 13)],
    }
    for name, rows in lines.items():
        (root / name).write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """``root/{train,query}/<class>/*``: 3 classes, 8 training and 3 query images each."""
    root = tmp_path / "tree"
    for split, n_images in (("train", 8), ("query", 3)):
        for c, name in enumerate(("ash", "beech", "cedar")):
            for k in range(n_images):
                colour = 60 * c + 5 * k + 2 * (split == "query")
                write_image(root / split / name / f"{k}.png", colour, (40 + k, 30))
    return root
