"""A small set of image files: a pattern a class under noise, in the layout of the data set ``folder``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(root: Path, classes: int = 3, train: int = 7, query: int = 3) -> Path:
    """``root``, with that many PNG files of 48 x 40 pixels for each class and split."""
    random = np.random.default_rng(0)
    for label in range(classes):
        pattern = random.integers(0, 256, (6, 5, 3)).repeat(8, 0).repeat(8, 1)
        for split, count in (("train", train), ("query", query)):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                noisy = pattern + random.integers(-40, 41, pattern.shape)
                Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return root
