"""Cropping on the device: images go there whole as bytes, or lie there, and the crops are made there.

On a GPU by ``device.cu``, elsewhere by the same arithmetic on whole tensors. It is that of
:mod:`fghash.data.images.resample` in whole numbers, so the bytes are the same everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fghash.data.images.cache import Decoded
from fghash.data.images.resample import FINE, UNIT, Cut, Pixels
from fghash.nvrtc import NoKernel, SlowWay, kernel, tell

_SOURCE = Path(__file__).with_suffix(".cu")
_THREADS = 64

Positions = NDArray[np.int64]


class Uncut(NamedTuple):
    """Whole images one after another in ``pixels`` (bytes,), and crops of some of them.

    ``cuts`` (b, 7) int64: an image's first byte and width, then top, left, height, width and mirror of its
    crop.
    ``taps``: the most pixels in a row or column that a result pixel is blended of.
    """

    pixels: Tensor
    cuts: Tensor
    size: int
    taps: int

    def to(self, device: torch.device | str, **options: Any) -> Uncut:
        """The same on ``device``."""
        return self._replace(pixels=self.pixels.to(device, **options), cuts=self.cuts.to(device, **options))

    def crop(self) -> Tensor:
        """The crops, bytes (b, 3, size, size), on the images' device."""
        if self.pixels.device.type == "cuda":
            try:
                return _crop_on_gpu(self)
            except NoKernel as error:
                tell(self.pixels.device, "cropping with whole tensors", str(error))
        return crop_by_tensors(self)


def uncut(pictures: Sequence[Pixels], cuts: Sequence[Cut], size: int) -> Uncut:
    """Pack images and crops."""
    starts = np.append(0, np.cumsum([picture.size for picture in pictures]))
    pixels = torch.empty(int(starts[-1]), dtype=torch.uint8)
    for picture, start, stop in zip(pictures, starts, starts[1:], strict=False):
        pixels.numpy()[start:stop] = picture.reshape(-1)
    return _placed(pixels, starts[:-1], [picture.shape[1] for picture in pictures], cuts, size)


def _placed(pixels: Tensor, starts: Any, widths: Any, cuts: Sequence[Cut], size: int) -> Uncut:
    rows = np.column_stack([starts, widths, np.array([list(cut) for cut in cuts], np.int64)]).astype(np.int64)
    largest = int(rows[:, 4:6].max())
    return Uncut(pixels, torch.from_numpy(rows), size, 2 * max(largest, size) // size + 2)


class Resident:
    """A decoded cache in the memory of a device, as bytes."""

    def __init__(self, source: Decoded, device: torch.device) -> None:
        self.index = source.index
        self.pixels = torch.tensor(source.pixels(), device=device)

    @classmethod
    def of(cls, source: Decoded, device: torch.device) -> Resident | None:
        """There, or ``None`` with a line where it does not fit."""
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else source.index.n_bytes
        if source.index.n_bytes <= free:
            return cls(source, device)
        needed = f"{source.index.n_bytes / 1e9:.2f} GB, of which {free / 1e9:.2f} GB are free"
        warnings.warn(f"--data.cache: gpu needs {needed} on {device}", SlowWay, stacklevel=2)
        return None

    def shapes(self, positions: Positions) -> list[tuple[int, int]]:
        """Heights and widths of the images at these positions."""
        return [(int(height), int(width)) for height, width in self.index.shapes[positions]]

    def uncut(self, positions: Positions, cuts: Sequence[Cut], size: int) -> Uncut:
        """Crops of the images at these positions, to be made where they lie."""
        index = self.index
        return _placed(self.pixels, index.starts[positions], index.shapes[positions, 1], cuts, size)


def _crop_on_gpu(batch: Uncut) -> Tensor:
    pixels, cuts, size, _ = batch
    compiled = kernel(_SOURCE.read_text(encoding="utf-8"), "crop", pixels.device)
    out = torch.empty((len(cuts), 3, size, size), dtype=torch.uint8, device=pixels.device)
    grid = (-(-size // _THREADS), size, len(cuts))
    with torch.cuda.device(pixels.device):
        compiled(grid, (_THREADS, 1, 1), [pixels, cuts, size, out])
    return out


def crop_by_tensors(batch: Uncut) -> Tensor:
    """The crops with a gather for each pair of taps."""
    pixels, cuts, size, taps = batch
    start, width, top, left, cut_height, cut_width, mirror = cuts.T
    rows, row_weights = _taps(cut_height, size, taps)
    columns, column_weights = _taps(cut_width, size, taps)
    at_row = (start[:, None, None] + (top[:, None, None] + rows) * 3 * width[:, None, None])[:, :, :, None]
    at_column = (left[:, None, None] + columns)[:, None] * 3
    channels = torch.arange(3, device=pixels.device)
    total = torch.zeros((len(cuts), size, size, 3), dtype=torch.int32, device=pixels.device)
    for j in range(taps):
        line = torch.zeros_like(total)
        for i in range(taps):
            source = pixels[(at_row[:, :, i] + at_column[..., j])[..., None] + channels]
            line += row_weights[:, :, i, None, None] * source
        total += column_weights[:, None, :, j, None] * ((line + UNIT // FINE // 2) // (UNIT // FINE))
    levels = ((total + FINE * UNIT // 2) // (FINE * UNIT)).to(torch.uint8)
    levels = torch.where(mirror.bool()[:, None, None, None], levels.flip(2), levels)
    return levels.permute(0, 3, 1, 2).contiguous()


def _taps(length: Tensor, size: int, taps: int) -> tuple[Tensor, Tensor]:
    """Source pixels (b, size, taps) and their weights, int32, 0 where there are fewer of them."""
    scale = length[:, None, None]
    centre = (2 * torch.arange(size, device=length.device)[:, None] + 1) * scale
    reach = 2 * scale.clamp_min(size)
    low = ((centre - reach).clamp_min(0)) // (2 * size)
    place = low + torch.arange(taps, device=length.device)
    height = (reach - ((2 * place + 1) * size - centre).abs()).clamp_min(0) * (place < scale)
    total = height.sum(-1, keepdim=True)
    weights = (2 * UNIT * height + total) // (2 * total)
    left = UNIT - weights.sum(-1, keepdim=True)
    weights.scatter_add_(-1, height.argmax(-1, keepdim=True), left)
    return torch.minimum(place, scale - 1), weights.int()
