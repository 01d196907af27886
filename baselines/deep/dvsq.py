"""DVSQ: deep visual-semantic quantization (Cao, Long, Wang and Liu, CVPR 2017).

Embeddings close to a vector of their class by an adaptive margin (DPQ has the same loss), and a quantizer
that keeps their inner products with the classes' vectors. Codes and codebooks are found by plain distance,
which is the same where the vectors are orthogonal.
"""

from __future__ import annotations

from torch import Tensor

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.methods.dpq.dpq_loss import margin_loss
from fghash.methods.dpq.label_vectors import random_vectors
from fghash.settings.config import OptimConfig

from .composite import CompositeMethod


def inner_product_gap(z: Tensor, decoded: Tensor, label_vectors: Tensor) -> Tensor:
    """Mean over items and classes of (v . (z - decoded))^2 (eq. 6), scalar."""
    return ((z - decoded) @ label_vectors.T).square().mean()


class DVSQ(CompositeMethod):
    """DVSQ with random class vectors in place of word vectors.

    Args:
        words: codewords of a codebook; ``null``: as many of up to 256 as make the length come out even.
        dimensions: of the embedding and the classes' vectors (paper: 300).
        quantisation_weight: lambda, of the inner products' gap.
        start: the part of the epochs after which the codebooks are set.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    label_vectors: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        words: int | None = None,
        dimensions: int = 300,
        quantisation_weight: float = 0.001,
        start: float = 0.3,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(
            backbone, num_classes, bits, optim, words, dimensions, quantisation_weight, start, input_norm
        )
        self.register_buffer("label_vectors", random_vectors(num_classes, dimensions))

    def supervision(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The adaptive margin loss (eq. 2)."""
        return {"margin": margin_loss(z, labels, self.label_vectors.to(z.dtype))}

    def gap(self, z: Tensor, decoded: Tensor) -> Tensor:
        """Of inner products with the classes' vectors."""
        return inner_product_gap(z, decoded, self.label_vectors.to(z.dtype))
