"""SPQ: end-to-end supervised product quantization (Klein and Wolf, CVPR 2019; its authors' name is DPQ).

An embedding in m parts; each part gives a distribution over the k codewords of its codebook. The mean of the
codewords under it is the soft vector, the most probable codeword the hard one. One classifier and one centre
for each class see both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import QuantizedCodes, RealCodes
from fghash.layers.heads import InputNorm
from fghash.layers.heads import input_norm as norm_layer
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.quantizers import codebooks_for
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from ..shallow.words import CodewordLengths, words_for
from .pairs import class_shares, cross_entropy


def soft_and_hard(p: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Both vectors (b, m * d) of distributions ``p`` (b, m, k) over codebooks (m, k, d).

    The hard one has the gradient of the soft one (straight-through).
    """
    soft = torch.einsum("bmk,mkd->bmd", p, codebooks)
    chosen = torch.stack([book[index] for book, index in zip(codebooks, p.argmax(2).T, strict=True)], dim=1)
    hard = soft + (chosen - soft).detach()
    return soft.flatten(1), hard.flatten(1)


def central_loss(vectors: Tensor, centres: Tensor) -> Tensor:
    """Half the mean squared distance between vectors (b, d) and the centres (b, d) of their classes."""
    return (vectors - centres).square().sum(1).mean() / 2


def gini_of_batch(p: Tensor) -> Tensor:
    """Sum over codewords of the squared mean probability, a mean over codebooks: low where all are in use."""
    return p.mean(0).square().sum(1).mean()


def gini_of_items(p: Tensor) -> Tensor:
    """Minus the sum over codewords of squared probabilities, a mean over items and codebooks: low where each
    item has decided.
    """
    return -p.square().sum(2).mean()


class SPQ(CodewordLengths):
    """Supervised product quantization.

    Args:
        words: codewords of a codebook; ``null``: as many of up to 256 as make the length come out even.
        part: dimensions of a codeword.
        sharpness: factor of the scores before the softmax.
        central_weight: of the joint central loss.
        gini_weight: of both Gini terms.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        words: int | None = None,
        part: int = 32,
        sharpness: float = 1.0,
        central_weight: float = 0.1,
        gini_weight: float = 0.1,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        require(1 <= part <= 4096, "part", part, "1 to 4096")
        require(0 < sharpness <= 1e6, "sharpness", sharpness, "numbers above 0, up to 1e6")
        for name, weight in (("central_weight", central_weight), ("gini_weight", gini_weight)):
            require(0 <= weight <= 1e6, name, weight, "numbers from 0 to 1e6")
        k = words_for(bits, words)
        m = codebooks_for(bits, k)
        self.m, self.sharpness = m, sharpness
        self.weights = {"central": central_weight, "gini": gini_weight}
        self.norm = norm_layer(input_norm, backbone.width)
        self.embedding = nn.Linear(backbone.width, m * part)
        self.scores = nn.Parameter(torch.randn(m, part, k) / part**0.5)
        self.codebooks = nn.Parameter(torch.randn(m, k, part) / part**0.5)
        self.classifier = nn.Linear(m * part, num_classes)
        self.centres = nn.Parameter(torch.zeros(num_classes, m * part))

    def forward(self, features: Features) -> Tensor:
        """Distributions (b, m, k) over the codewords."""
        z = functional.relu(at_least_float32(self.embedding(self.norm(features.vector))))
        with full_precision(z):
            scores = torch.einsum("bmd,mdk->bmk", z.reshape(z.shape[0], self.m, -1), self.scores.to(z.dtype))
            return (self.sharpness * scores).softmax(2)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Classification and centres of both vectors, and both Gini terms."""
        together, p = self.gather(batch, self(batch.features))
        with full_precision(p):
            both = soft_and_hard(p, self.codebooks.to(p.dtype))
            shares = class_shares(together.labels, len(self.centres)).to(p.dtype)
            own = shares @ self.centres.to(p.dtype)
            classified = [cross_entropy(self.classifier(each), together.labels) for each in both]
            central = central_loss(both[0], own) + central_loss(both[1], own)
            gini = gini_of_batch(p) + gini_of_items(p)
        return {
            "soft": classified[0],
            "hard": classified[1],
            "central": self.weights["central"] * central,
            "gini": self.weights["gini"] * gini,
        }

    def encode(self, features: Features) -> QuantizedCodes:
        """The most probable codeword of each part."""
        indices = self.code_values(features).numpy(force=True)
        codebooks = self.codebooks.detach().float().numpy(force=True)
        return QuantizedCodes(indices, codebooks, "product", "l2")

    def encode_queries(self, features: Features) -> RealCodes:
        """The soft vector (asymmetric search)."""
        return RealCodes(self.query_values(features).numpy(force=True), "l2")

    def code_values(self, features: Features) -> Tensor:
        """Indices (b, m) of the most probable codewords."""
        p: Tensor = self(features)
        return p.argmax(2)

    def query_values(self, features: Features) -> Tensor:
        """The soft vectors (b, m * d) in float32."""
        p = self(features)
        soft, _ = soft_and_hard(p, self.codebooks.to(p.dtype))
        return soft.float()

    def embed(self, features: Features) -> RealCodes:
        """The soft vector."""
        return self.encode_queries(features)
