"""DSH: deep supervised hashing (Liu, Wang, Shan and Chen, CVPR 2016)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import HashLayerMethod
from .pairs import mean_over, similar_and_other


def contrastive(u: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over pairs of |u_i - u_j|^2 / 2 where they are similar, else of max(m - |u_i - u_j|^2, 0) / 2
    (eq. 3), scalar.
    """
    similar, other = similar_and_other(labels)
    squares = u.square().sum(1)
    distances = (squares[:, None] + squares[None, :] - 2 * u @ u.T).clamp_min(0)
    return mean_over(
        torch.where(similar, distances, functional.relu(margin - distances)) / 2, similar | other
    )


def to_one(u: Tensor) -> Tensor:
    """Mean of ||u| - 1|, the regulariser that draws outputs to their signs (eq. 3)."""
    return (u.abs() - 1).abs().mean()


class DSH(HashLayerMethod):
    """Pairs pulled together or pushed apart up to a margin; outputs are drawn to -1 and 1.

    Args:
        margin: m, in squared distance; ``null`` is 2 bits (paper).
        alpha: weight of the regulariser (paper: 0.01), here of a mean over bits.
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
        alpha: float = 0.01,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(margin is None or 0 < margin <= 1e6, "margin", margin, "numbers above 0, up to 1e6, or null")
        require(0 <= alpha <= 1e6, "alpha", alpha, "numbers from 0 to 1e6")
        self.margin, self.alpha = 2.0 * bits if margin is None else margin, alpha

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Both terms of eq. 3."""
        return {"pairs": contrastive(u, labels, self.margin), "regulariser": self.alpha * to_one(u)}
