"""LSH: signs of random projections (Charikar, STOC 2002), the bottom line of every table."""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.methods.closed_form import ClosedFormMethod
from fghash.settings.config import OptimConfig


class LSH(ClosedFormMethod):
    """Signs of Gaussian projections of the centred features.

    Args:
        normalise: divide every vector by its length first.
    """

    projection: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise)
        self.register_buffer("projection", torch.randn(backbone.width, bits))

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """Nothing but the mean is learned; the projection was drawn with the run's seed."""

    def forward(self, features: Features) -> Tensor:
        """The projections (b, bits)."""
        return self.inputs(features) @ self.projection
