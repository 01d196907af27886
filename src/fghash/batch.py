"""Batch: the one thing that travels from loader to method."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Some items of one split.

    ``images`` (b, c, h, w) normalised floats; ``labels`` (b,) integer classes or (b, classes) multi-hot;
    ``index`` (b,) positions of the items in their split.
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls
