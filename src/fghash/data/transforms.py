"""Pictures of any size become square batches: drawn crops for training, the centre for evaluation.

Crops and flips are drawn from (seed, epoch, index) alone. Batches stay bytes as long as possible, because
bytes are four times cheaper to move; :func:`normalise` turns them into floats on whichever device they have
reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fghash.data.draws import uniforms
from fghash.errors import InputError

MEAN = (0.485, 0.456, 0.406)  # ImageNet, of values in [0, 1]
STD = (0.229, 0.224, 0.225)

# Short side before the crop, over the side of the crop. The customary 256/224, rounded up: it is the size at
# which the decoded cache stores pictures, so that evaluation is the same with the cache and without it.
MARGIN = 1.15

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, left, height, width

_ATTEMPTS = (
    10  # torchvision's: a drawn crop that does not fit is drawn anew this often, then the centre is taken
)


class Transform(Protocol):
    """Pictures of a batch to one tensor."""

    def __call__(self, pictures: Sequence[Picture], keys: Sequence[tuple[int, int]]) -> Tensor:
        """Bytes (b, 3, size, size); ``keys`` are the (index, epoch) of each picture."""
        ...


@dataclass(frozen=True)
class EvaluationTransform:
    """Short side to ``MARGIN * size``, then the central square."""

    size: int

    def __call__(self, pictures: Sequence[Picture], keys: Sequence[tuple[int, int]]) -> Tensor:
        """As :class:`Transform`; the keys play no part."""
        return torch.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: Picture) -> Tensor:
        tensor = resize_short_side(picture, stored_size(self.size))
        top, left = (round(free / 2) for free in _free_play(tensor, self.size))
        return tensor[:, top : top + self.size, left : left + self.size]


@dataclass(frozen=True)
class TrainTransform:
    """A crop and a flip for each picture, drawn from (seed, epoch, index).

    ``crop``: ``random_resized`` (Inception's: a part of the area in ``crop_scale``, aspect ratio 3/4 to
    4/3, stretched to the square) or ``random`` (short side to ``MARGIN * size``, then a square anywhere).
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

    def __call__(self, pictures: Sequence[Picture], keys: Sequence[tuple[int, int]]) -> Tensor:
        """As :class:`Transform`."""
        index, epoch = np.asarray(keys, np.int64).T
        draws = uniforms(self.seed, epoch, index, count=2 * _ATTEMPTS + 3)
        images = torch.stack(
            [self._one(picture, row[1:]) for picture, row in zip(pictures, draws, strict=True)]
        )
        if self.flip:
            mirrored = torch.from_numpy(draws[:, 0] < 0.5)
            images[mirrored] = images[mirrored].flip(-1)
        return images

    def _one(self, picture: Picture, draws: NDArray[np.float64]) -> Tensor:
        if self.crop == "random":
            tensor = resize_short_side(picture, stored_size(self.size))
            top, left = (
                int(u * (free + 1)) for u, free in zip(draws, _free_play(tensor, self.size), strict=False)
            )
            return tensor[:, top : top + self.size, left : left + self.size]
        top, left, height, width = draw_box(picture.shape[0], picture.shape[1], self.crop_scale, draws)
        return _resize(picture[top : top + height, left : left + width], (self.size, self.size))


def stored_size(size: int) -> int:
    """Short side, in pixels, from which a square of ``size`` is cut."""
    return round(MARGIN * size)


def draw_box(height: int, width: int, scale: tuple[float, float], draws: NDArray[np.float64]) -> Box:
    """The crop of torchvision's ``RandomResizedCrop.get_params`` for 22 uniform numbers.

    Two numbers place the crop, then two an attempt give its part of the area and the logarithm of its aspect
    ratio. If no attempt fits, the central crop with the nearest allowed aspect ratio.
    """
    area = scale[0] + (scale[1] - scale[0]) * draws[2::2]
    ratio = np.exp((2 * draws[3::2] - 1) * np.log(4 / 3))
    widths = np.rint(np.sqrt(height * width * area * ratio)).astype(int)
    heights = np.rint(np.sqrt(height * width * area / ratio)).astype(int)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    if not fits.any():
        return _central_box(height, width)
    first = int(np.argmax(fits))
    h, w = int(heights[first]), int(widths[first])
    return int(draws[0] * (height - h + 1)), int(draws[1] * (width - w + 1)), h, w


def _central_box(height: int, width: int) -> Box:
    h = min(height, round(width / (3 / 4)))
    w = min(width, round(height * (4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def resize_short_side(picture: Picture, short: int) -> Tensor:
    """Scale a picture so that its short side is ``short`` pixels; (3, h, w) bytes."""
    height, width = picture.shape[:2]
    scale = short / min(height, width)
    return _resize(picture, (max(short, int(height * scale)), max(short, int(width * scale))))


def _resize(picture: Picture, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing, as Pillow and torchvision resize."""
    pixels = np.ascontiguousarray(picture)
    if pixels.shape[:2] == size:
        return torch.tensor(pixels).permute(2, 0, 1)
    with_batch = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)[None]
    return F.interpolate(with_batch, size=size, mode="bilinear", antialias=True)[0]


def _free_play(image: Tensor, size: int) -> tuple[int, int]:
    """How far a square of ``size`` can move down and right."""
    return image.shape[-2] - size, image.shape[-1] - size


def normalise(images: Tensor) -> Tensor:
    """Bytes to floats with ImageNet's mean and deviation, on the images' own device."""
    shape = (1, 3, 1, 1)
    mean = torch.tensor(MEAN, device=images.device).mul(255).view(shape)
    inverse = torch.tensor(STD, device=images.device).mul(255).reciprocal().view(shape)
    return images.float().sub_(mean).mul_(inverse)
