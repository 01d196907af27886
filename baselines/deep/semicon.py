"""SEMICON (Shen, Sun, Wei, Yang and Yang, ECCV 2022).

A suppression-enhancing mask (SEM) finds one region after the other, each with what was found before damped;
an interactive channel transformation (ICON) lets the channels of refined maps attend to each other. Half of
the bits see the whole image, a sixth of them each of three regions. Trained as ADSH. Near-official code
(DSH_Analysis) read; it has an ICON within the last stage, here one stands behind each copied stage, and the
mask is normalised within an image instead of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.layers.asymmetric import Alternation
from fghash.layers.heads import start_small
from fghash.layers.precision import at_least_float32
from fghash.methods.exchnet import Bottleneck
from fghash.methods.refining import RefiningMethod
from fghash.settings.config import OptimConfig

_REGIONS = 3


def bits_of(bits: int) -> tuple[int, int]:
    """Bits of the whole image and of each region (near-official code).

    >>> bits_of(12), bits_of(32), bits_of(48)
    ((6, 2), (17, 5), (24, 8))
    """
    of_region = bits // 6
    return bits - _REGIONS * of_region, of_region


def suppression(found: Tensor) -> Tensor:
    """Weights (b, 1, h, w) from 0 to 2 that damp where a region (b, 1, h, w) was found; 1 is no change.

    2 - clamp((softmax - mean) / std^0.15 + 1, 0, 2), no gradient.
    """
    attention = found.detach().flatten(1).softmax(1)
    std = attention.std(1, keepdim=True).clamp_min(1e-12)
    scaled = (attention - attention.mean(1, keepdim=True)) / std**0.15 + 1
    return (2 - scaled.clamp(0, 2)).view_as(found)


class Masks(nn.Module):
    """SEM: level-3 map (b, c, h, w) -> masks of three regions (b, 3, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle, last = max(channels // 4, 4), max(channels // 16, 4)
        self.body = nn.Sequential(
            Bottleneck(channels), nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle),
            Bottleneck(middle), nn.Conv2d(middle, last, 1, bias=False), nn.BatchNorm2d(last),
            Bottleneck(last),
        )  # fmt: skip
        self.regions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(last, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU())
            for _ in range(_REGIONS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """One region after the other."""
        x, found = self.body(x), []
        for region in self.regions:
            found.append(region(x))
            x = x * suppression(found[-1])
        return torch.cat(found, dim=1)


def channel_attention(qkv: Tensor) -> Tensor:
    """Each channel of a group attends to the others, with roots of the scores below the softmax.

    (b, 3, groups, channels, places) -> (b, groups, channels, places).
    """
    q, k, v = qkv.unbind(1)
    scores = q @ k.transpose(-2, -1) * q.shape[2] ** -0.5
    scores = scores.sign() * (scores.abs() + 1e-5).sqrt()
    mixed: Tensor = scores.softmax(-1) @ v
    return mixed


class ChannelTransformer(nn.Module):
    """ICON: attention among the channels of a group, then across groups, each with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wanted = max(channels // 64, 16)
        self.heads = max(size for size in range(1, wanted + 1) if channels % size == 0)
        self.width = channels // self.heads
        self.within = nn.Conv2d(channels, 3 * channels, 1, groups=self.heads)
        self.across = nn.Conv2d(channels, 3 * channels, 1, groups=self.width)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map in, map of the same shape out."""
        b, c, h, w = x.shape
        qkv = self.within(x).reshape(b, self.heads, 3, self.width, h * w).transpose(1, 2)
        mixed = (channel_attention(qkv).reshape(b, c, h, w) + x).reshape(b, self.heads, self.width, h, w)
        y = self.norm(mixed.transpose(1, 2).reshape(b, c, h, w))
        qkv = self.across(y.relu()).reshape(b, self.width, 3, self.heads, h * w).transpose(1, 2)
        crossed: Tensor = channel_attention(qkv).reshape(b, c, h, w) + y
        return crossed


class SEMICON(RefiningMethod):
    """SEMICON on the level-3 map.

    Args:
        quantisation_weight: gamma, of |v - u|^2 (near-official code: 200).
        subset: m, items of an outer iteration; never more than half of all.
        inner: inner epochs of an outer iteration, as a fraction of all epochs.
    """

    reads = Reads(levels=(3,))

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        quantisation_weight: float = 200.0,
        subset: int = 2000,
        inner: float = 0.05,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        inner_width, outer = backbone.channels[2], backbone.channels[3]
        of_whole, of_region = bits_of(bits)
        self.masks = Masks(inner_width)
        self.local, self.whole = backbone.copy_stage(4), backbone.copy_stage(4)
        self.mix_local, self.mix_whole = ChannelTransformer(outer), ChannelTransformer(outer)
        self.hash_whole = start_small(nn.Linear(outer, of_whole))
        regions = range(_REGIONS if of_region else 0)  # below 6 bits all see the whole
        self.hash_regions = nn.ModuleList(start_small(nn.Linear(outer, of_region)) for _ in regions)
        backbone.rest_after(3)  # copies of the last stage are trained, itself is never run
        self.alternation = Alternation(bits, subset, inner, gamma=quantisation_weight)

    def forward(self, features: Features) -> Tensor:
        """The real values (b, bits) whose signs are the code."""
        x = features.maps[3]
        values = [self.hash_whole(self.mix_whole(self.whole(x)).mean((2, 3)))]
        masks = self.masks(x)
        for place, linear in enumerate(self.hash_regions):
            region = self.mix_local(self.local(x * masks[:, place : place + 1]))
            values.append(linear(region.mean((2, 3))))
        return torch.cat(values, dim=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ADSH's objective."""
        together, u = self.gather(batch, torch.tanh(at_least_float32(self(batch.features))))
        return self.alternation.terms(u, together)

    def copies(self) -> Iterable[nn.Module]:
        """The stages that refine regions and whole."""
        return (self.local, self.whole)

    def new_parameters(self) -> Iterable[nn.Parameter]:
        """Masks, channel transformers and hash layers."""
        new = (self.masks, self.mix_local, self.mix_whole, self.hash_whole, self.hash_regions)
        return [parameter for module in new for parameter in module.parameters()]
