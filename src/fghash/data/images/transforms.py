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
Integers = NDArray[np.int64]

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
        boxes = self._boxes(np.asarray(shapes, np.int64), draws[:, 1:])
        drawn = zip(boxes.tolist(), mirrors.tolist(), strict=True)
        return [Cut(top, left, height, width, mirror) for (top, left, height, width), mirror in drawn]

    def _boxes(self, shapes: Integers, draws: NDArray[np.float64]) -> Integers:
        if self.crop == "random_resized":
            return draw_boxes(shapes, self.crop_scale, draws)
        corners = (draws[:, :2] * (shapes - self.size + 1)).astype(np.int64)
        return np.column_stack([corners, np.full_like(corners, self.size)])


def stored_size(size: int) -> int:
    """Short side, in pixels, from which a square of ``size`` is cropped."""
    return round(MARGIN * size)


def draw_boxes(shapes: Integers, scale: tuple[float, float], draws: NDArray[np.float64]) -> Integers:
    """The crops of torchvision's ``RandomResizedCrop.get_params`` for 22 uniform numbers each.

    ``shapes`` (n, 2): heights and widths of the images. ``draws`` (n, 22): two numbers place the crop, then
    two an attempt give its part of the area and the logarithm of its aspect ratio. Where no attempt fits, it
    is the central crop with the nearest allowed aspect ratio. Returns (n, 4): top, left, height, width.
    """
    height, width = shapes.T
    area = (scale[0] + (scale[1] - scale[0]) * draws[:, 2::2]) * (height * width)[:, None]
    ratio = np.exp((2 * draws[:, 3::2] - 1) * np.log(4 / 3))
    widths, heights = (np.rint(np.sqrt(each)).astype(np.int64) for each in (area * ratio, area / ratio))
    fits = (widths > 0) & (widths <= width[:, None]) & (heights > 0) & (heights <= height[:, None])
    chosen = np.arange(len(shapes)), fits.argmax(axis=1)
    h, w = heights[chosen], widths[chosen]
    top, left = (
        (draws[:, 0] * (height - h + 1)).astype(np.int64),
        (draws[:, 1] * (width - w + 1)).astype(np.int64),
    )
    boxes = np.column_stack([top, left, h, w])
    return np.where(fits.any(axis=1)[:, None], boxes, _central_boxes(height, width))


def _central_boxes(height: Integers, width: Integers) -> Integers:
    h = np.minimum(height, np.rint(width / (3 / 4)).astype(np.int64))
    w = np.minimum(width, np.rint(height * (4 / 3)).astype(np.int64))
    return np.column_stack([(height - h) // 2, (width - w) // 2, h, w])


def cut_batch(pictures: Sequence[Pixels], cuts: Sequence[Cut], size: int) -> Tensor:
    """The crops of the images, bytes (b, 3, size, size)."""
    images = torch.empty((len(pictures), 3, size, size), dtype=torch.uint8)
    for picture, cut, out in zip(pictures, cuts, images.numpy(), strict=True):
        cut_out(picture, cut, out)
    return images
