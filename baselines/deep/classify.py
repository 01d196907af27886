"""Classification on tanh bits: the simplest way to supervised codes, and what any method should be ahead of.

u = tanh(W features + b), a linear classifier on u, cross-entropy; the code is the sign of u. One linear hash
layer on the pooled features, no pairs, no quantisation term unless requested.
"""

from __future__ import annotations

from torch import Tensor, nn

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import TanhMethod
from .pairs import cross_entropy, gap_to_one


class Classify(TanhMethod):
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
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        limits = "numbers from 0 to 1e6"
        require(0 <= quantisation_weight <= 1e6, "quantisation_weight", quantisation_weight, limits)
        self.classifier = nn.Linear(bits, num_classes)
        self.quantisation_weight = quantisation_weight

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy and, if weighted, the quantisation term."""
        terms = {"classification": cross_entropy(self.classifier(u), labels)}
        if self.quantisation_weight:
            terms["quantisation"] = self.quantisation_weight * gap_to_one(u)
        return terms
