"""Images of any size become square batches: drawn crops for training, the centre for evaluation.

Crops and mirrors are drawn from (seed, epoch, index) alone. Batches stay bytes, which are four times cheaper
to move; the backbone normalises them on whichever device they have reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fghash.data.draws import uniforms
from fghash.data.images.resample import Cut, Pixels, cut_out
from fghash.errors import InputError

# Short side before the crop, over the side of the crop. The customary 256/224, rounded up: it is the size at
# which the decoded cache stores images, so that evaluation is the same with the cache and without it.
MARGIN = 1.15

Shape = tuple[int, int]  # height, width
Key = tuple[int, int]  # index, epoch

# torchvision's: a drawn crop that does not fit is drawn again this often, then it is the centre.
_ATTEMPTS = 10


class Transform(Protocol):
    """What to crop out of the images of a batch, to be scaled to squares of ``size``.

    ``short_side``: the short side that the images must have; ``None``: they come as they are stored.
    """

    @property
    def size(self) -> int:
        """Side of the squares, in pixels."""
        ...

    @property
    def short_side(self) -> int | None:
        """Short side that the images must have, in pixels."""
        ...

    def cuts(self, shapes: Sequence[Shape], keys: Sequence[Key]) -> list[Cut]:
        """One crop for each image of these shapes; ``keys`` are their (index, epoch)."""
        ...


@dataclass(frozen=True)
class EvaluationTransform:
    """Short side to ``MARGIN * size``, then the central square."""

    size: int

    @property
    def short_side(self) -> int | None:
        """Always the stored size."""
        return stored_size(self.size)

    def cuts(self, shapes: Sequence[Shape], keys: Sequence[Key]) -> list[Cut]:
        """As :class:`Transform`; the keys play no part."""
        size = self.size
        return [Cut(round((h - size) / 2), round((w - size) / 2), size, size) for h, w in shapes]


@dataclass(frozen=True)
class TrainTransform:
    """A crop and a mirror for each image, drawn from (seed, epoch, index).

    ``crop``: ``random_resized`` (Inception's: a part of the area in ``crop_scale``, aspect ratio 3/4 to 4/3,
    stretched to the square) or ``random`` (short side to ``MARGIN * size``, then a square anywhere).
    ``flip``: mirror half of them.
    """

    size: int
    seed: int
    crop: Literal["random_resized", "random"] = "random_resized"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True

    def __post_init__(self) -> None:
        if self.crop not in ("random_resized", "random"):
            raise InputError(f"--data.crop: must be random_resized or random, got {self.crop!r}")
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise InputError(f"--data.crop_scale: must be 0 < low <= high <= 1, got {low} and {high}")

    @property
    def short_side(self) -> int | None:
        """A resized crop may be of any part of the image, so it is drawn on the image as it is."""
        return stored_size(self.size) if self.crop == "random" else None

    def cuts(self, shapes: Sequence[Shape], keys: Sequence[Key]) -> list[Cut]:
        """As :class:`Transform`."""
        index, epoch = np.asarray(keys, np.int64).T
        draws = uniforms(self.seed, epoch, index, count=2 * _ATTEMPTS + 3)
        mirrors = (draws[:, 0] < 0.5) & self.flip
        boxes = (self._box(*shape, row) for shape, row in zip(shapes, draws[:, 1:], strict=True))
        return [Cut(*box, mirror=bool(mirror)) for box, mirror in zip(boxes, mirrors, strict=True)]

    def _box(self, height: int, width: int, draws: NDArray[np.float64]) -> tuple[int, int, int, int]:
        if self.crop == "random_resized":
            return draw_box(height, width, self.crop_scale, draws)
        free_y, free_x = height - self.size + 1, width - self.size + 1
        return int(draws[0] * free_y), int(draws[1] * free_x), self.size, self.size


def stored_size(size: int) -> int:
    """Short side, in pixels, from which a square of ``size`` is cropped."""
    return round(MARGIN * size)


def draw_box(
    height: int, width: int, scale: tuple[float, float], draws: NDArray[np.float64]
) -> tuple[int, int, int, int]:
    """The crop of torchvision's ``RandomResizedCrop.get_params`` for 22 uniform numbers.

    Two numbers place the crop, then two an attempt give its part of the area and the logarithm of its aspect
    ratio. If no attempt fits, the central crop with the nearest allowed aspect ratio.
    """
    area = (scale[0] + (scale[1] - scale[0]) * draws[2::2]) * (height * width)
    ratio = np.exp((2 * draws[3::2] - 1) * np.log(4 / 3))
    widths, heights = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    if not fits.any():
        return _central_box(height, width)
    first = int(np.argmax(fits))
    h, w = int(heights[first]), int(widths[first])
    return int(draws[0] * (height - h + 1)), int(draws[1] * (width - w + 1)), h, w


def _central_box(height: int, width: int) -> tuple[int, int, int, int]:
    h = min(height, round(width / (3 / 4)))
    w = min(width, round(height * (4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def cut_batch(pictures: Sequence[Pixels], cuts: Sequence[Cut], size: int) -> Tensor:
    """The crops of the images, bytes (b, 3, size, size)."""
    images = torch.empty((len(pictures), 3, size, size), dtype=torch.uint8)
    for picture, cut, out in zip(pictures, cuts, images.numpy(), strict=True):
        cut_out(picture, cut, out)
    return images
