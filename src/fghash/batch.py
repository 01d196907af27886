"""Batch and Features: what travels from the loader to the backbone, and from the backbone to the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reads:
    """What a method reads of an image: the pooled vector, the maps of some levels (1 to 4), or both."""

    pooled: bool = False
    levels: tuple[int, ...] = ()


class Features(NamedTuple):
    """What a backbone gives for some images.

    ``pooled`` (b, width): the network's own pooling and norm, or ``None``; ``maps`` by level, each
    (b, c, h, w).
    """

    pooled: Tensor | None = None
    maps: Mapping[int, Tensor] = {}

    @property
    def vector(self) -> Tensor:
        """``pooled`` of a method that reads it."""
        assert self.pooled is not None, "the method does not read the pooled vector"
        return self.pooled

    def to(self, device: torch.device | str, **options: Any) -> Features:
        """The same features on ``device``."""
        pooled = None if self.pooled is None else self.pooled.to(device, **options)
        return Features(pooled, {level: map_.to(device, **options) for level, map_ in self.maps.items()})

    def in_precision(self, dtype: torch.dtype) -> Features:
        """The same features as numbers of this type."""
        pooled = None if self.pooled is None else self.pooled.to(dtype)
        return Features(pooled, {level: map_.to(dtype) for level, map_ in self.maps.items()})


class Batch(NamedTuple):
    """Some items of one split, with images or with features.

    ``images``: (b, 3, h, w) levels of 0 to 255 in bytes or normalised floats, or uncropped images that the
    device crops; ``None`` where there are features. ``labels`` (b,) integer classes or (b, classes)
    multi-hot; ``index`` (b,) positions of the items in their split; ``features``: empty beside images.
    """

    images: Any
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    features: Features = Features()

    def to(self, device: torch.device | str, **options: Any) -> Batch:
        """The same batch with every tensor on ``device``; to a GPU without waiting for the copy."""
        options.setdefault("non_blocking", torch.device(device).type == "cuda")
        labels, index = self.labels.to(device, **options), self.index.to(device, **options)
        images = None if self.images is None else self.images.to(device, **options)
        return Batch(images, labels, index, self.features.to(device, **options))
