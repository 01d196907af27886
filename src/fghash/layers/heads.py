"""The plain hashing head that simple methods share."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from fghash.layers.requirements import require


def start_small(linear: nn.Linear) -> nn.Linear:
    """The same layer with weights of standard deviation 0.1 / sqrt(inputs) and no bias: it begins near 0.

    Asymmetric hashing needs it. Outputs that share a large mean drown what sets classes apart in the code
    step, and the codes stay noise for many epochs.
    """
    nn.init.normal_(linear.weight, std=0.1 / math.sqrt(linear.in_features))
    nn.init.zeros_(linear.bias)
    return linear


InputNorm = Literal["none", "bn", "ln"]


def input_norm(kind: InputNorm, width: int) -> nn.Module:
    """What a head does to its input first: nothing, batch or layer normalisation."""
    require(kind in ("none", "bn", "ln"), "input_norm", kind, "none, bn or ln")
    if kind == "none":
        return nn.Identity()
    return nn.BatchNorm1d(width) if kind == "bn" else nn.LayerNorm(width)


class PooledLinear(nn.Module):
    """One linear layer: pooled features (b, width) -> real values (b, bits)."""

    def __init__(self, width: int, bits: int, norm: InputNorm = "none") -> None:
        super().__init__()
        self.norm = input_norm(norm, width)
        self.linear = nn.Linear(width, bits)

    def forward(self, pooled: Tensor) -> Tensor:
        """The real values whose signs are the code."""
        values: Tensor = self.linear(self.norm(pooled))
        return values
