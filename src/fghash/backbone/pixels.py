"""From bytes to what a network expects: the one place where images are normalised, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Normalise(nn.Module):
    """Images as the network expects them: cropped where they are uncropped, in floats, normalised.

    Bytes and whole levels of 0 to 255 become floats with the mean and standard deviation (of values in
    [0, 1]) of the network's training; other floats are taken as normalised already. Memory of CPU batches is
    reused, because fresh memory costs more than filling it.
    """

    mean: Tensor
    inverse: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        shape = (3, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(shape), persistent=False)
        self.register_buffer("inverse", torch.tensor(std).mul(255).reciprocal().view(shape), persistent=False)
        self.memory = Recycler()

    def forward(self, images: Tensor) -> Tensor:
        """Normalised floats (b, 3, h, w) in the precision of this module."""
        levels = images if isinstance(images, Tensor) else images.crop()
        if isinstance(images, Tensor) and images.is_floating_point():
            return images
        if levels.device.type != "cpu":
            return levels.float().sub_(self.mean.float()).mul_(self.inverse.float()).to(self.mean.dtype)
        return normalise(levels, self.mean.float(), self.inverse.float(), self.memory).to(self.mean.dtype)


def normalise(levels: Tensor, mean: Tensor, inverse: Tensor, memory: Recycler | None = None) -> Tensor:
    """(levels - mean) * inverse in float32, image by image, while each is in the processor's cache."""
    out = torch.empty(levels.shape) if memory is None else memory.floats(levels.shape)
    for source, result in zip(levels, out, strict=True):
        result.copy_(source).sub_(mean).mul_(inverse)
    return out


class Recycler:
    """Hands out tensors; when the last reference to one is gone, its memory is handed out again.

    A batch of 64 images of 224 pixels is 38 MB: above what the C library keeps for reuse, so every batch
    would be mapped, zeroed and unmapped by the system, page by page.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.float32]] = []

    def floats(self, shape: Sequence[int]) -> Tensor:
        """An uninitialised float32 tensor of this shape."""
        size = int(np.prod(shape))
        fitting = [block for block in self._free if block.size == size]
        self._free = fitting[:-1]  # those of other sizes go: they are of another split, or of an epoch's end
        return self._lend(fitting[-1] if fitting else np.empty(size, np.float32)).view(*shape)

    def _lend(self, memory: NDArray[np.float32]) -> Tensor:
        view = memory[:]  # the tensor and all its views keep this object alive; then the memory comes back
        weakref.finalize(view, self._take_back, memory).atexit = False
        return torch.from_numpy(view)

    def _take_back(self, memory: NDArray[np.float32]) -> None:
        self._free.append(memory)
