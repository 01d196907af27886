"""The frozen network's own vectors, compared by cosine: no training, no coding."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.codes import RealCodes
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig


class Frozen(HashingMethod):
    """Real vectors of 32 bits a dimension; the bits asked for play no part."""

    def __init__(self, backbone: Backbone, num_classes: int, bits: int, optim: OptimConfig) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.width = backbone.width

    def fit_closed_form(self, features: Tensor, labels: Tensor) -> None:
        """There is nothing to fit."""

    def code_lengths(self) -> tuple[int, ...]:
        """What an item takes."""
        return (32 * self.width,)

    def encode(self, features: Features) -> RealCodes:
        """The vectors."""
        vectors: Any = self.code_values(features).numpy(force=True)
        return RealCodes(vectors, "cosine")

    def code_values(self, features: Features) -> Tensor:
        """The vectors (b, width) in float32."""
        return features.vector.float()
