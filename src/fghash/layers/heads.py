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
    """Global average pooling and one linear layer: map (b, channels, h, w) -> real values (b, bits)."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, bits)

    def forward(self, features: Tensor) -> Tensor:
        """The real values whose signs are the code."""
        values: Tensor = self.linear(features.mean(dim=(2, 3)))
        return values
