"""CSQ: central similarity quantization (Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, CVPR 2020)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .centres import Centres, centres_of, hash_centres
from .hash_layer import TanhMethod
from .pairs import gap_to_one


def central_similarity(u: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of (u + 1) / 2 with the bits of the centres (eq. 4), scalar.

    ``u`` (b, bits) between -1 and 1, ``targets`` (b, bits) of -1 and 1.
    """
    return functional.binary_cross_entropy((u + 1) / 2, (targets.to(u.dtype) + 1) / 2)


class CSQ(TanhMethod):
    """Bits of an item as those of its class's hash centre, which lie far apart.

    Args:
        centres: ``hadamard`` where the bits allow it, or ``random``.
        weight: lambda, of the gap between |u| and 1 (official code: 1e-4; the paper smooths it).
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    centres: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        centres: Centres = "hadamard",
        weight: float = 1e-4,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 <= weight <= 1e6, "weight", weight, "numbers from 0 to 1e6")
        self.weight = weight
        self.register_buffer("centres", hash_centres(num_classes, bits, centres))

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Central similarity and quantisation (eq. 6)."""
        central = central_similarity(u, centres_of(labels, self.centres))
        return {"central": central, "quantisation": self.weight * gap_to_one(u)}
