"""DTQ: deep triplet quantization (Liu, Cao, Long, Wang and Wang, ACM Multimedia 2018)."""

from __future__ import annotations

from torch import Tensor

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.layers.triplets import triplet_loss
from fghash.settings.config import OptimConfig

from .composite import CompositeMethod


def squared_gap(z: Tensor, decoded: Tensor) -> Tensor:
    """Mean over items of |z - decoded|^2 (eq. 4), scalar."""
    return (z - decoded).square().sum(1).mean()


class DTQ(CompositeMethod):
    """Triplets of the batch on embeddings that an additive quantizer follows.

    Without the paper's choice of hard triplets in groups and its weak orthogonality of the codebooks.

    Args:
        words: codewords of a codebook; ``null``: as many of up to 256 as make the length come out even.
        dimensions: of the embedding.
        margin: of the triplets, in squared distance.
        quantisation_weight: lambda, of the squared gap.
        start: the part of the epochs after which the codebooks are set.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    similarity = "l2"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        words: int | None = None,
        dimensions: int = 128,
        margin: float = 20.0,
        quantisation_weight: float = 0.1,
        start: float = 0.3,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(
            backbone, num_classes, bits, optim, words, dimensions, quantisation_weight, start, input_norm
        )
        require(0 < margin <= 1e6, "margin", margin, "numbers above 0, up to 1e6")
        self.margin = margin

    def supervision(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The triplet loss (eq. 1)."""
        return {"triplet": triplet_loss(z, labels, self.margin)}

    def gap(self, z: Tensor, decoded: Tensor) -> Tensor:
        """Squared distance."""
        return squared_gap(z, decoded)
