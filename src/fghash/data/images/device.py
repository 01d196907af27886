"""Cropping on the device: whole cached images go there as bytes, two matrix products make the batch.

Bilinear scaling with antialiasing is linear in rows and in columns, so a crop is ``rows @ picture @ columns``
with two small matrices for each image: what a GPU does best, and the loading processes then only copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fghash.data.images.resample import Cut, Pixels


class Uncut(NamedTuple):
    """Whole images (b, h, w, 3), padded to the largest, and their crops (b, 5); both integers."""

    pictures: Tensor
    cuts: Tensor
    size: int

    def to(self, device: torch.device | str, **options: Any) -> Uncut:
        """The same on ``device``."""
        return Uncut(self.pictures.to(device, **options), self.cuts.to(device, **options), self.size)

    def crop(self) -> Tensor:
        """The crops as whole levels of 0 to 255, in floats (b, 3, size, size), on the images' device."""
        return cut_on_device(self)


def uncut(pictures: Sequence[Pixels], cuts: Sequence[Cut], size: int) -> Uncut:
    """Pack images and crops for :func:`cut_on_device`."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    padded = torch.empty((len(pictures), height, width, 3), dtype=torch.uint8)
    for picture, room in zip(pictures, padded.numpy(), strict=True):
        room[: picture.shape[0], : picture.shape[1]] = picture
    rows = [list(cut) for cut in cuts]
    return Uncut(padded, torch.from_numpy(np.array(rows, np.int64)), size)


def cut_on_device(batch: Uncut) -> Tensor:
    """The crops as whole levels of 0 to 255, in floats (b, 3, size, size)."""
    b, height, width, _ = batch.pictures.shape
    top, left, cut_height, cut_width, mirror = batch.cuts.T
    rows = _triangles(top, cut_height, batch.size, height)
    columns = _triangles(left, cut_width, batch.size, width)
    columns = torch.where(mirror.bool()[:, None, None], columns.flip(1), columns)
    lines = rows @ batch.pictures.reshape(b, height, width * 3).float()
    images = columns[:, None] @ lines.view(b, batch.size, width, 3)
    return images.add_(0.5).floor_().clamp_(0, 255).permute(0, 3, 1, 2)


def _triangles(start: Tensor, length: Tensor, size: int, total: int) -> Tensor:
    """Weights (b, size, total) of source pixels for result pixels: as ``resample._triangles``, dense."""
    scale = (length / size)[:, None]
    centre = (torch.arange(size, device=start.device) + 0.5) * scale
    place = torch.arange(total, device=start.device) - start[:, None]
    distance = (place[:, None, :] + 0.5 - centre[:, :, None]).abs() / scale.clamp_min(1)[:, :, None]
    inside = (place >= 0) & (place < length[:, None])
    weights = (1 - distance).clamp_min(0) * inside[:, None, :]
    return weights / weights.sum(-1, keepdim=True)
