"""DCH: deep Cauchy hashing (Cao, Long, Liu and Wang, CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import TanhMethod
from .pairs import similar_and_other


def normalised_distances(u: Tensor, others: Tensor) -> Tensor:
    """bits / 2 (1 - cos), the Hamming distance where both are codes (eq. 6), (b, n)."""
    cosines = functional.normalize(u) @ functional.normalize(others).T
    return (1 - cosines).clamp_min(1e-6) * u.shape[1] / 2


def cauchy_pairs(u: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Cross-entropy of similarity under a Cauchy distribution of distance (eq. 7), scalar.

    A pair costs w (s log(d / gamma) + log(1 + gamma / d)); w balances similar and dissimilar pairs: all pairs
    by those of its kind. The mean over pairs of different items.
    """
    similar, other = similar_and_other(labels)
    distances = normalised_distances(u, u)
    costs = similar * (distances / gamma).log() + torch.log1p(gamma / distances)
    pairs = (similar | other).sum().clamp_min(1)
    weights = sum(kind * pairs / kind.sum().clamp_min(1) for kind in (similar, other))
    return (weights * costs).sum() / pairs


def cauchy_quantisation(u: Tensor, gamma: float) -> Tensor:
    """Mean of log(1 + d(|u|, 1) / gamma) (eq. 8)."""
    ones = torch.ones_like(u[:1])
    return torch.log1p(normalised_distances(u.abs(), ones) / gamma).mean()


class DCH(TanhMethod):
    """Similar pairs within a small Hamming radius, by a Cauchy distribution of distance.

    Args:
        gamma: scale of the distribution, in bits (official code: 20).
        weight: lambda, of the quantisation (official code: 0.1).
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        gamma: float = 20.0,
        weight: float = 0.1,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 < gamma <= 1e6, "gamma", gamma, "numbers above 0, up to 1e6")
        require(0 <= weight <= 1e6, "weight", weight, "numbers from 0 to 1e6")
        self.gamma, self.weight = gamma, weight

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Pairs and quantisation (eq. 9)."""
        quantisation = self.weight * cauchy_quantisation(u, self.gamma)
        return {"pairs": cauchy_pairs(u, labels, self.gamma), "quantisation": quantisation}
