"""The plain hashing head that simple methods share."""

from __future__ import annotations

from torch import Tensor, nn


class PooledLinear(nn.Module):
    """Global average pooling and one linear layer: map (b, channels, h, w) -> real values (b, bits)."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, bits)

    def forward(self, features: Tensor) -> Tensor:
        """The real values whose signs are the code."""
        values: Tensor = self.linear(features.mean(dim=(2, 3)))
        return values
