"""DTSH: deep supervised hashing with triplet labels (Wang, Shi and Kitani, ACCV 2016)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import HashLayerMethod
from .pairs import gap_to_signs, similar_and_other


def triplet_likelihood(u: Tensor, labels: Tensor, margin: float) -> Tensor:
    """log(1 + exp(x)) - x with x = theta_ap - theta_an - margin and theta = u_i . u_j / 2 (eq. 7), scalar.

    The mean over an anchor's triplets, then over the anchors that have some; memory grows with b^3.
    """
    similar, other = similar_and_other(labels)
    theta = u @ u.T / 2
    x = theta[:, :, None] - theta[:, None, :] - margin  # (anchor, positive, negative)
    triplets = similar[:, :, None] & other[:, None, :]
    counts = triplets.sum((1, 2))
    means = (functional.softplus(-x) * triplets).sum((1, 2)) / counts.clamp_min(1)
    return means.sum() / (counts > 0).sum().clamp_min(1)


class DTSH(HashLayerMethod):
    """Likelihood that the positive of a triplet is closer than its negative by a margin.

    Args:
        margin: alpha, in theta; ``null`` is bits / 2 (paper: half of the length).
        weight: lambda, of the gap between outputs and signs (paper: 1), here of a mean over bits.
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
        weight: float = 1.0,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(margin is None or 0 <= margin <= 1e6, "margin", margin, "numbers from 0 to 1e6, or null")
        require(0 <= weight <= 1e6, "weight", weight, "numbers from 0 to 1e6")
        self.margin, self.weight = bits / 2 if margin is None else margin, weight

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Likelihood and gap (eq. 9)."""
        likelihood = triplet_likelihood(u, labels, self.margin)
        return {"likelihood": likelihood, "quantisation": self.weight * gap_to_signs(u)}
