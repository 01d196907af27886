"""DPSH: deep pairwise-supervised hashing (Li, Wang and Kang, IJCAI 2016)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import HashLayerMethod
from .pairs import gap_to_signs, mean_over, similar_and_other


def pair_likelihood(u: Tensor, labels: Tensor) -> Tensor:
    """Mean over pairs of log(1 + exp(theta)) - s theta with theta = u_i . u_j / 2 (eq. 4), scalar."""
    similar, other = similar_and_other(labels)
    theta = u @ u.T / 2
    return mean_over(functional.softplus(theta) - similar * theta, similar | other)


class DPSH(HashLayerMethod):
    """Likelihood of similarity by the inner product of outputs, which are drawn to their signs.

    Args:
        eta: weight of the gap between outputs and signs (paper: 0.1), here of a mean over bits.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        eta: float = 0.1,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 <= eta <= 1e6, "eta", eta, "numbers from 0 to 1e6")
        self.eta = eta

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Likelihood and gap (eq. 6)."""
        return {"likelihood": pair_likelihood(u, labels), "quantisation": self.eta * gap_to_signs(u)}
