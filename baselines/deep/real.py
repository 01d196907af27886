"""The real-valued upper bound: the same linear layer, classified and compared by cosine, without coding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.codes import RealCodes
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import HashLayerMethod
from .pairs import cross_entropy


class Real(HashLayerMethod):
    """As many real values as the others have bits, 32 bits each.

    Args:
        scale: of the cosines between an item and the classes' directions, before the softmax.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        scale: float = 16.0,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 < scale <= 1e6, "scale", scale, "numbers above 0, up to 1e6")
        self.scale = scale
        self.directions = nn.Parameter(nn.init.kaiming_normal_(torch.empty(num_classes, bits)))

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the scaled cosines to the classes' directions."""
        cosines = functional.normalize(u) @ functional.normalize(self.directions).T
        return {"classification": cross_entropy(self.scale * cosines, labels)}

    def code_lengths(self) -> tuple[int, ...]:
        """What an item takes."""
        return (32 * self.bits,)

    def encode(self, features: Features) -> RealCodes:
        """u itself."""
        return RealCodes(self(features).float().numpy(force=True), "cosine")

    def embed(self, features: Features) -> None:
        """Nothing beside the codes."""
