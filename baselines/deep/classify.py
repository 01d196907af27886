"""Classification on tanh bits: the simplest way to supervised codes, and what any method should be ahead of.

u = tanh(W features + b), a linear classifier on u, cross-entropy; the code is the sign of u. One linear hash
layer on the pooled features, no pairs, no quantisation term unless requested.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import BinaryCodes, RealCodes
from fghash.layers.heads import InputNorm, PooledLinear
from fghash.layers.precision import at_least_float32
from fghash.layers.requirements import require
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of (b, classes) with classes (b,), or with multi-hot labels shared equally."""
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    shares = labels.to(logits.dtype)
    return F.cross_entropy(logits, shares / shares.sum(1, keepdim=True).clamp_min(1))


def quantisation(u: Tensor) -> Tensor:
    """Mean of (|u| - 1)^2, how far the values are from their signs."""
    return (u.abs() - 1).square().mean()


class Classify(HashingMethod):
    """Cross-entropy on tanh bits.

    Args:
        quantisation_weight: of the mean of (|u| - 1)^2; 0 leaves it out.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        quantisation_weight: float = 0.0,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        limits = "numbers from 0 to 1e6"
        require(0 <= quantisation_weight <= 1e6, "quantisation_weight", quantisation_weight, limits)
        self.head = PooledLinear(backbone.width, bits, input_norm)
        self.classifier = nn.Linear(bits, num_classes)
        self.quantisation_weight = quantisation_weight

    def forward(self, features: Features) -> Tensor:
        """u = tanh of the hash layer, (b, bits)."""
        return torch.tanh(at_least_float32(self.head(features.vector)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over the global batch and, if weighted, the quantisation term."""
        together, u = self.gather(batch, self(batch.features))
        terms = {"classification": cross_entropy(self.classifier(u), together.labels)}
        if self.quantisation_weight:
            terms["quantisation"] = self.quantisation_weight * quantisation(u)
        return terms

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of u."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """u, compared by cosine."""
        return RealCodes(self(features).float().numpy(force=True), "cosine")
