"""Plain triplet hashing: one linear hash layer on the pooled last map, triplets within the batch.

As in the code of FPH's own lab (zhongzhh8/Image-Retrieval), hence FPH's control under the same schedule.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Batch
from fghash.codes import BinaryCodes, RealCodes
from fghash.layers.heads import PooledLinear
from fghash.layers.precision import at_least_float32
from fghash.layers.triplet import default_margin, triplet_loss
from fghash.methods.base import HashingMethod, check_bits
from fghash.settings.config import OptimConfig


class Triplet(HashingMethod):
    """Triplet hashing.

    Args:
        margin: in squared distance (4 for each bit that differs); ``null`` is bits / 4 + 4.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        margin: float | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.head = PooledLinear(backbone.channels[-1], bits)
        self.margin = default_margin(bits) if margin is None else margin

    @classmethod
    def allows_bits(cls, bits: int, **settings: Any) -> None:
        """Any positive length."""
        check_bits(bits, bits > 0, "triplet", "allowed: any positive length")

    def forward(self, images: Tensor) -> Tensor:
        """u = tanh of the hash layer, (b, bits)."""
        return torch.tanh(at_least_float32(self.head(self.backbone.forward_until(4, images))))

    def encode(self, images: Tensor) -> BinaryCodes:
        """The signs of u."""
        return BinaryCodes.from_signs(self(images))

    def embed(self, images: Tensor) -> RealCodes:
        """u, compared by cosine."""
        return RealCodes(self(images).float().numpy(force=True), "cosine")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The triplet loss over the global batch."""
        everyone, outputs = self.gather(batch, self(batch.images))
        return {"triplet": triplet_loss(outputs, everyone.labels, self.margin)}
