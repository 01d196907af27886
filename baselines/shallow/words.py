"""How many codewords a code length is made of, and the quantizers' common ground."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.codes import RealCodes
from fghash.layers.precision import full_precision
from fghash.layers.quantizers import codebooks_for
from fghash.methods.base import HashingMethod
from fghash.methods.closed_form import ClosedFormMethod
from fghash.settings.config import OptimConfig


def words_for(bits: int, words: int | None) -> int:
    """Codewords of a codebook: those asked for, or the most of up to 256 with which ``bits`` come out even.

    >>> words_for(32, None), words_for(12, None), words_for(20, None), words_for(32, 16)
    (256, 64, 32, 16)
    """
    if words is not None:
        return words
    return 1 << max(each for each in range(1, 9) if bits % each == 0)


class CodewordLengths(HashingMethod):
    """Which lengths a method of codewords can have; a base beside the method's own."""

    @classmethod
    def allows_bits(cls, bits: int, words: int | None = None, **settings: Any) -> None:
        """Multiples of log2(words); any length where the number of words is left open."""
        super().allows_bits(bits)
        codebooks_for(bits, words_for(bits, words))


class QuantizingMethod(CodewordLengths, ClosedFormMethod):
    """Codes are codewords; queries stay real and are compared by squared distance.

    Args:
        normalise: divide every vector by its length before it is centred.
        words: codewords of a codebook; ``None``: as many of up to 256 as make the length come out even.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        normalise: bool,
        words: int | None,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise)
        self.words = words_for(bits, words)
        self.count = codebooks_for(bits, self.words)

    def encode_queries(self, features: Features) -> RealCodes:
        """The transformed vectors themselves."""
        return RealCodes(self.query_values(features).numpy(force=True), "l2")

    def query_values(self, features: Features) -> Tensor:
        """The transformed vectors in float32."""
        with full_precision(features.vector):
            values: Tensor = self(features).float()
            return values

    def embed(self, features: Features) -> RealCodes:
        """The vectors before quantization, with the similarity of the codes."""
        return self.encode_queries(features)


def a_seed() -> int:
    """A seed for k-means, from torch's generator."""
    return int(torch.randint(2**31, ()))


def distortion(x: Tensor, decoded: Tensor) -> float:
    """Mean squared distance between vectors (n, d) and what their codes stand for."""
    return float((x - decoded).square().sum(1).mean())
