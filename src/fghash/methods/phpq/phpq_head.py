"""From feature maps of several levels to one embedding, and from embeddings to class scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.quantizers import unit

Pool = Literal["avg", "max", "sum", "concat", "mix", "gem"]
LevelNorm = Literal["bn", "l2", "none"]
Projection = Literal["linear", "mlp"]


class LevelPooling(nn.Module):
    """The map of one level (b, c, h, w) as one vector (b, ``width``): pooled, then brought to a common scale.

    Scales differ: values after a ReLU vary from stage to stage, and a maximum is never below its average.
    """

    def __init__(self, channels: int, pool: Pool, lateral: int | None, norm: LevelNorm) -> None:
        super().__init__()
        self.lateral = _lateral(channels, lateral) if lateral else nn.Identity()
        self.pool = HybridPool(pool)
        self.width = (lateral or channels) * (2 if pool == "concat" else 1)
        self.norm = {"bn": nn.BatchNorm1d(self.width), "l2": Unit(), "none": nn.Identity()}[norm]

    def forward(self, map_: Tensor) -> Tensor:
        """One vector an image."""
        pooled: Tensor = self.norm(self.pool(self.lateral(map_)))
        return pooled


def _lateral(channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


class Unit(nn.Module):
    """Vectors scaled to length 1, in their own precision."""

    def forward(self, vectors: Tensor) -> Tensor:
        """The unit vectors."""
        return unit(vectors).to(vectors.dtype)


class HybridPool(nn.Module):
    """Maps (b, c, h, w) pooled over space by average, maximum or a mixture of both.

    ``sum`` adds them, ``concat`` puts them side by side, ``mix`` weighs them by a learned scalar, ``gem`` is
    the generalised mean, whose learned power leads from the average (1) to the maximum (large).
    """

    def __init__(self, kind: Pool) -> None:
        super().__init__()
        self.kind = kind
        if kind == "mix":
            self.balance = nn.Parameter(torch.zeros(()))
        if kind == "gem":
            self.power = nn.Parameter(torch.tensor(3.0))

    def forward(self, map_: Tensor) -> Tensor:
        """One vector an image."""
        if self.kind == "gem":
            return generalised_mean(map_, self.power)
        average, maximum = map_.mean(dim=(2, 3)), map_.amax(dim=(2, 3))
        if self.kind == "mix":
            return torch.lerp(maximum, average, self.balance.sigmoid().to(average.dtype))
        if self.kind == "concat":
            return torch.cat([average, maximum], dim=1)
        return {"avg": average, "max": maximum, "sum": average + maximum}[self.kind]


def generalised_mean(map_: Tensor, power: Tensor, eps: float = 1e-6) -> Tensor:
    """Generalised mean (b, c) of a map (b, c, h, w), whose values below ``eps`` count as ``eps``."""
    with full_precision(map_):
        powers = at_least_float32(map_).clamp(min=eps).pow(power)
        return powers.mean(dim=(2, 3)).pow(1 / power).to(map_.dtype)


class PyramidHybridPooling(nn.Module):
    """Maps of the chosen levels, pooled, side by side, projected to one embedding (b, ``width``)."""

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        *,
        levels: Sequence[int] = (2, 3, 4),
        pool: Pool = "sum",
        lateral: int | None = None,
        level_norm: LevelNorm = "bn",
        proj: Projection = "linear",
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        poolings = [LevelPooling(channels[level - 1], pool, lateral, level_norm) for level in levels]
        pooled = sum(pooling.width for pooling in poolings)
        hidden = (nn.Linear(pooled, pooled), nn.BatchNorm1d(pooled), nn.ReLU()) if proj == "mlp" else ()
        self.poolings = nn.ModuleList(poolings)
        self.proj = nn.Sequential(*hidden, nn.Linear(pooled, width))

    def forward(self, maps: Mapping[int, Tensor]) -> Tensor:
        """The embedding of the maps of the chosen levels."""
        pooled = [pooling(maps[level]) for level, pooling in zip(self.levels, self.poolings, strict=True)]
        embedding: Tensor = self.proj(torch.cat(pooled, dim=1))
        return embedding


class ClassHead(nn.Module):
    """Class scores (b, classes) of vectors (b, n): ``scale`` * cosine to a class vector.

    Without ``scale`` it is a plain linear layer.
    """

    def __init__(self, width: int, num_classes: int, scale: float | None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_classes, bias=scale is None)
        self.scale = scale

    def forward(self, vectors: Tensor) -> Tensor:
        """Class scores, in float32 or better."""
        weight = at_least_float32(self.linear.weight)
        if self.scale is not None:
            return self.scale * functional.linear(unit(vectors), unit(weight))
        return functional.linear(vectors, weight, at_least_float32(self.linear.bias))
