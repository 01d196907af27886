"""Plain triplet hashing: one linear hash layer on the pooled last map, triplets within the batch.

As in the code of FPH's own lab (zhongzhh8/Image-Retrieval), hence FPH's control under the same schedule.
"""

from __future__ import annotations

from torch import Tensor

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.triplets import default_margin, triplet_loss
from fghash.settings.config import OptimConfig

from .hash_layer import TanhMethod


class Triplet(TanhMethod):
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
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        self.margin = default_margin(bits) if margin is None else margin

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The triplet loss."""
        return {"triplet": triplet_loss(u, labels, self.margin)}
