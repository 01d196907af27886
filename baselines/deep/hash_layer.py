"""One linear hash layer on the pooled features: what the methods that differ in their loss alone share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import BinaryCodes, Codes, RealCodes
from fghash.layers.heads import InputNorm, PooledLinear
from fghash.layers.precision import at_least_float32, full_precision
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig


class HashLayerMethod(HashingMethod):
    """Signs of a linear layer. A method writes :meth:`terms`, and :meth:`activation` where it has none.

    Args:
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, bits: int, optim: OptimConfig, input_norm: InputNorm
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.head = PooledLinear(backbone.width, bits, input_norm)

    @abstractmethod
    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named, weighted terms of outputs (b, bits) and labels of the global batch, in full precision."""

    def activation(self, values: Tensor) -> Tensor:
        """Of the hash layer; none unless a method has one."""
        return values

    def forward(self, features: Features) -> Tensor:
        """u, the outputs (b, bits)."""
        return self.activation(at_least_float32(self.head(features.vector)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the global batch."""
        together, u = self.gather(batch, self(batch.features))
        with full_precision(u):
            return self.terms(u, together.labels)

    def encode(self, features: Features) -> Codes:
        """The signs of u."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes | None:
        """u, compared by cosine."""
        return RealCodes(self(features).float().numpy(force=True), "cosine")


class TanhMethod(HashLayerMethod):
    """The same with outputs between -1 and 1."""

    def activation(self, values: Tensor) -> Tensor:
        """tanh."""
        return torch.tanh(values)
