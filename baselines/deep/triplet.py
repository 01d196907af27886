"""Plain triplet hashing: one linear hash layer on the pooled last map, triplets within the batch.

As in the code of FPH's own lab (zhongzhh8/Image-Retrieval), hence FPH's control under the same schedule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import BinaryCodes, RealCodes
from fghash.layers.heads import InputNorm, PooledLinear
from fghash.layers.precision import at_least_float32
from fghash.layers.triplets import default_margin, triplet_loss
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig


class Triplet(HashingMethod):
    """Triplet hashing.

    Args:
        margin: in squared distance (4 for each bit that differs); ``null`` is bits / 4 + 4.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        margin: float | None = None,
        input_norm: InputNorm = "none",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.head = PooledLinear(backbone.width, bits, input_norm)
        self.margin = default_margin(bits) if margin is None else margin

    def forward(self, features: Features) -> Tensor:
        """u = tanh of the hash layer, (b, bits)."""
        return torch.tanh(at_least_float32(self.head(features.vector)))

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of u."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """u, compared by cosine."""
        return RealCodes(self(features).float().numpy(force=True), "cosine")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The triplet loss over the global batch."""
        together, outputs = self.gather(batch, self(batch.features))
        return {"triplet": triplet_loss(outputs, together.labels, self.margin)}
