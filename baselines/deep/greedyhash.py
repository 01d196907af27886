"""GreedyHash (Su, Zhang, Han and Tian, NeurIPS 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from ..shallow.projections import signs
from .hash_layer import HashLayerMethod
from .pairs import cross_entropy


def greedy_signs(u: Tensor) -> Tensor:
    """The signs of u (0 is +1) forward; backward the gradient passes as it is (eq. 8)."""
    return u + (signs(u) - u).detach()


def cubic_gap(u: Tensor) -> Tensor:
    """Mean of ||u| - 1|^3 (eq. 9 with p = 3)."""
    return (u.abs() - 1).abs().pow(3).mean()


class GreedyHash(HashLayerMethod):
    """Cross-entropy of a linear classifier on the signs themselves.

    Args:
        alpha: weight of the gap between outputs and signs (official code: 0.1).
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        alpha: float = 0.1,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 <= alpha <= 1e6, "alpha", alpha, "numbers from 0 to 1e6")
        self.alpha = alpha
        self.classifier = nn.Linear(bits, num_classes)

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Classification of the signs, and the gap."""
        classification = cross_entropy(self.classifier(greedy_signs(u)), labels)
        return {"classification": classification, "quantisation": self.alpha * cubic_gap(u)}
