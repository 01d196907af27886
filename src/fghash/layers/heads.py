"""The plain hashing head that simple methods share."""

from __future__ import annotations

import math

from torch import Tensor, nn


def start_small(linear: nn.Linear) -> nn.Linear:
    """The same layer with weights of standard deviation 0.1 / sqrt(inputs) and no bias: it begins near 0.

    Asymmetric hashing needs it. Outputs that share a large mean drown what sets classes apart in the code
    step, and the codes stay noise for many epochs.
    """
    nn.init.normal_(linear.weight, std=0.1 / math.sqrt(linear.in_features))
    nn.init.zeros_(linear.bias)
    return linear


class PooledLinear(nn.Module):
    """One linear layer: pooled features (b, width) -> real values (b, bits)."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, bits)

    def forward(self, pooled: Tensor) -> Tensor:
        """The real values whose signs are the code."""
        values: Tensor = self.linear(pooled)
        return values
