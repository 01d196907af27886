"""FPH, reconstructed: after Feature Pyramid Hashing (ICMR 2019, arXiv 1904.02325).

A reconstruction, not the published method. The paper's text and code were not available: certain are only a
*vertical pyramid* for high-layer semantics, a *horizontal pyramid* over low-layer features with *structural
information*, the name *consensus fusion*, and triplet training in the lab's code. The networks, the fusion
and the weights below are ours, each a switch; its numbers must be read as "FPH-style".

    vertical    v = tanh(W GAP(C4)), or with a top-down path ("fpn")
    horizontal  levels 1, 2, 3 brought to level 4's size by 3, 2, 1 residual blocks, pooled to f_1, f_2, f_3;
                s_l = tanh(W_l f_l), a = softmax_l(w . f_l + b), z = sum_l a_l s_l: bits on which the levels
                agree stay large, others shrink
    code        sign [v ; z], half the bits each
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.codes import BinaryCodes, RealCodes
from fghash.errors import InputError
from fghash.layers.precision import at_least_float32
from fghash.layers.requirements import require
from fghash.layers.triplets import default_margin, triplet_loss
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig

Fusion = Literal["gate", "mean", "concat", "max", "product"]
_LATERAL = 256  # channels of the top-down path, as in Feature Pyramid Networks

# -- head ----------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """ResNet's basic block with a projected shortcut: a map of the next level's stride and channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU(),
            _convolution(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) -> (b, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


class VerticalPyramid(nn.Module):
    """Semantics: maps of all levels -> v (b, bits) in [-1, 1]; ``top_down``, from level 4 to 3, as in FPN."""

    def __init__(self, channels: tuple[int, ...], bits: int, top_down: bool) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, _LATERAL, 1) for c in channels[2:]) if top_down else None
        self.smooth = nn.ModuleList(
            nn.Conv2d(_LATERAL, _LATERAL, 3, padding=1) for _ in channels[2:] if top_down
        )
        self.linear = nn.Linear(2 * _LATERAL if top_down else channels[3], bits)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """v."""
        pooled = maps[3].mean(dim=(2, 3)) if self.laterals is None else self._top_down(maps)
        return torch.tanh(self.linear(pooled))

    def _top_down(self, maps: tuple[Tensor, ...]) -> Tensor:
        assert self.laterals is not None
        low, top = (lateral(map_) for lateral, map_ in zip(self.laterals, maps[2:], strict=True))
        low = low + F.interpolate(top, size=low.shape[2:], mode="nearest")
        pyramid = (smooth(map_) for smooth, map_ in zip(self.smooth, (low, top), strict=True))
        return torch.cat([map_.mean(dim=(2, 3)) for map_ in pyramid], dim=1)


class HorizontalPyramid(nn.Module):
    """Detail: maps of all levels -> z (b, bits), and the levels' own codes (b, 3, bits) if fusion has any.

    A block brings a map to the next level's channels and stride, whatever the backbone; ``ratios`` are those
    of the strides of neighbouring levels. ``spatial`` structure pools over the whole map and its quarters.
    """

    def __init__(
        self, channels: tuple[int, ...], ratios: tuple[int, ...], bits: int, fusion: Fusion, spatial: bool
    ) -> None:
        super().__init__()
        levels = range(3)
        self.climb = nn.ModuleList(
            nn.Sequential(
                *(Block(channels[step], channels[step + 1], ratios[step]) for step in range(level, 3))
            )
            for level in levels
        )
        width = channels[3]
        self.quarters = nn.ModuleList(nn.Linear(5 * width, width) for _ in levels) if spatial else None
        self.fuse = ConsensusFusion(width, bits, fusion)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        """z and the levels' codes."""
        climbed = [climb(map_) for climb, map_ in zip(self.climb, maps[:3], strict=True)]
        fused: tuple[Tensor, Tensor | None] = self.fuse(torch.stack(self._pooled(climbed), dim=1))
        return fused

    def _pooled(self, maps: list[Tensor]) -> list[Tensor]:
        whole = [map_.mean(dim=(2, 3)) for map_ in maps]
        if self.quarters is None:
            return whole
        corners = [F.adaptive_avg_pool2d(map_, 2).flatten(1) for map_ in maps]
        both = (torch.cat(pair, dim=1) for pair in zip(whole, corners, strict=True))
        return [linear(pooled) for linear, pooled in zip(self.quarters, both, strict=True)]


class ConsensusFusion(nn.Module):
    """Features of the levels (b, 3, d) -> z (b, bits) in [-1, 1], and the levels' codes (b, 3, bits) or None.

    ``gate``: s_l weighted by a softmax over levels; ``mean``: plain mean of s_l; ``concat``: one layer on all
    features; ``max``: on their element-wise maximum; ``product``: on their sum plus their element-wise
    product.
    """

    def __init__(self, width: int, bits: int, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion
        votes = fusion in ("gate", "mean")
        self.levels = nn.ModuleList(nn.Linear(width, bits) for _ in range(3)) if votes else None
        self.gate = nn.Linear(width, 1) if fusion == "gate" else None
        self.linear = None if votes else nn.Linear(width * (3 if fusion == "concat" else 1), bits)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """z and the levels' codes."""
        if self.levels is None:
            assert self.linear is not None
            return torch.tanh(self.linear(self._joined(features))), None
        votes = torch.stack([torch.tanh(layer(features[:, i])) for i, layer in enumerate(self.levels)], dim=1)
        if self.gate is None:
            return votes.mean(1), votes
        return (self.gate(features).softmax(1) * votes).sum(1), votes

    def _joined(self, features: Tensor) -> Tensor:
        if self.fusion == "concat":
            return features.flatten(1)
        return features.amax(1) if self.fusion == "max" else features.sum(1) + features.prod(1)


# -- method --------------------------------------------------------------------------------------------------


class FPH(HashingMethod):
    """FPH-style hashing (a reconstruction), with a switch for every guess.

    Args:
        branches: ``both`` pyramids, or ``vertical`` or ``horizontal`` alone with all the bits.
        vertical: ``top``, the last map only, or ``fpn``, with a top-down path.
        structure: ``none``, or ``spatial``, the horizontal maps pooled over quarters too.
        fusion: of the horizontal levels.
        vertical_bits: bits of the vertical pyramid; ``null`` is half.
        margin: of the whole code's triplets in squared distance, each branch's in proportion; ``null`` is
            bits / 4 + 4.
        joint_weight: of the whole code's triplet loss.
        vertical_weight: of the vertical code's own triplet loss.
        horizontal_weight: of the horizontal code's own triplet loss.
        level_weight: of the horizontal levels' own triplet losses (fusions ``gate`` and ``mean``).
    """

    reads = Reads(levels=(1, 2, 3, 4))

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        branches: Literal["both", "vertical", "horizontal"] = "both",
        vertical: Literal["top", "fpn"] = "top",
        structure: Literal["none", "spatial"] = "none",
        fusion: Fusion = "gate",
        vertical_bits: int | None = None,
        margin: float | None = None,
        joint_weight: float = 1.0,
        vertical_weight: float = 1.0,
        horizontal_weight: float = 1.0,
        level_weight: float = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        votes = fusion in ("gate", "mean") and branches != "vertical"
        require(votes or not level_weight, "level_weight", level_weight, "0 without gate or mean fusion")
        self.vertical_bits = split_bits(bits, branches, vertical_bits)
        self.horizontal_bits = bits - self.vertical_bits
        self.vertical = (
            VerticalPyramid(backbone.channels, self.vertical_bits, vertical == "fpn")
            if self.vertical_bits
            else None
        )
        self.horizontal = (
            HorizontalPyramid(
                backbone.channels,
                stride_ratios(backbone.strides),
                self.horizontal_bits,
                fusion,
                structure == "spatial",
            )
            if self.horizontal_bits
            else None
        )
        backbone.rest_after(4)  # what only the pooled vector needs is never run
        self.margin = default_margin(bits) if margin is None else margin
        self.joint_weight, self.level_weight = joint_weight, level_weight
        self.vertical_weight, self.horizontal_weight = vertical_weight, horizontal_weight

    @classmethod
    def allows_bits(cls, bits: int, **settings: Any) -> None:
        """Any length that leaves each branch a bit."""
        super().allows_bits(bits)
        split_bits(bits, settings.get("branches", "both"), settings.get("vertical_bits"))

    def forward(self, features: Features) -> Tensor:
        """[v ; z], (b, bits) in [-1, 1]."""
        return torch.cat(self._branches(features)[0], dim=1)

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of [v ; z]."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """[v ; z], compared by cosine."""
        return RealCodes(self(features).float().numpy(force=True), "cosine")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Triplet losses of the global batch: of the whole code, of each branch's, of the levels' codes."""
        branches, levels = self._branches(batch.features)
        together, outputs = self.gather(batch, torch.cat([*branches, *levels], dim=1))
        code, levels_codes = outputs[:, : self.bits], outputs[:, self.bits :]
        terms = {"joint": self.joint_weight * self._triplets(code, together)}
        if len(branches) == 2:
            v, z = code[:, : self.vertical_bits], code[:, self.vertical_bits :]
            terms["vertical"] = self.vertical_weight * self._triplets(v, together)
            terms["horizontal"] = self.horizontal_weight * self._triplets(z, together)
        if self.level_weight:
            own = [
                self._triplets(level, together) for level in levels_codes.split(self.horizontal_bits, dim=1)
            ]
            terms["levels"] = self.level_weight * torch.stack(own).sum()
        return terms

    def _triplets(self, part: Tensor, batch: Batch) -> Tensor:
        return triplet_loss(part, batch.labels, self.margin * part.shape[1] / self.bits)

    def _branches(self, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """The codes of the branches, and those of the horizontal levels side by side if they have a loss."""
        maps = tuple(features.maps[level] for level in (1, 2, 3, 4))
        branches, levels = [], None
        if self.vertical is not None:
            branches.append(at_least_float32(self.vertical(maps)))
        if self.horizontal is not None:
            z, levels = self.horizontal(maps)
            branches.append(at_least_float32(z))
        wanted = levels is not None and self.level_weight
        return branches, [at_least_float32(levels.flatten(1))] if wanted and levels is not None else []


def stride_ratios(strides: tuple[int, ...]) -> tuple[int, ...]:
    """By how much the stride grows from each level to the next: 1 of a plain transformer, else mostly 2.

    >>> stride_ratios((4, 8, 16, 32)), stride_ratios((16, 16, 16, 16))
    ((2, 2, 2), (1, 1, 1))
    """
    return tuple(max(1, later // earlier) for earlier, later in itertools.pairwise(strides))


def split_bits(bits: int, branches: str, vertical_bits: int | None) -> int:
    """Bits of the vertical pyramid; the others are the horizontal one's.

    Raises:
        InputError: a branch is left without a bit.
    """
    if branches != "both":
        return bits if branches == "vertical" else 0
    mine = bits // 2 if vertical_bits is None else vertical_bits
    if not 0 < mine < bits:
        raise InputError(f"bits: {mine} of {bits} for the vertical pyramid (each pyramid needs at least 1)")
    return mine
