"""Memory for batches, used again once nobody holds it: fresh memory costs more than filling it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
