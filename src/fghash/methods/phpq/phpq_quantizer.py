"""The learnable product quantizer with partial codebook attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fghash.layers.precision import full_precision
from fghash.layers.quantizers import from_first_process, reseed, unit


class Quantized(NamedTuple):
    """What the quantizer made of b embeddings.

    Unit sub-vectors ``real``, chosen codewords ``hard`` and ``code``, which carries the gradient, all (b, m,
    d); ``attention`` (b, m, k) and chosen ``indices`` (b, m).
    """

    real: Tensor
    hard: Tensor
    code: Tensor
    attention: Tensor
    indices: Tensor


def partial_attention(similarity: Tensor, kappa: int, alpha: float) -> Tensor:
    """Softmax of ``alpha`` * similarity (..., k) over the ``kappa`` most similar codewords, 0 elsewhere."""
    best, where = similarity.topk(kappa, dim=-1)
    return torch.zeros_like(similarity).scatter(-1, where, (alpha * best).softmax(dim=-1))


class ProductQuantizer(nn.Module):
    """m codebooks of k unit codewords in d dimensions, scored by cosine and read through partial attention.

    Tied codebooks score and read the same codewords; ``dual`` ones have keys to score and values to read.
    With
    ``ste`` (straight-through) the code is the chosen codeword going forward and the attention's mixture going
    backward, without it the mixture in both directions. ``kappa`` = 1 gives embeddings no gradient, ``kappa``
    = k is full attention.
    """

    def __init__(
        self,
        codebooks: int,
        words: int,
        sub_dim: int,
        *,
        kappa: int,
        alpha: float,
        dual: bool = False,
        ste: bool = True,
        xavier: bool = False,
    ) -> None:
        super().__init__()
        self.kappa, self.alpha, self.ste = kappa, alpha, ste
        self.keys = nn.Parameter(_random_words(codebooks, words, sub_dim, xavier))
        self.values = nn.Parameter(_random_words(codebooks, words, sub_dim, xavier)) if dual else None

    def codebooks(self) -> Tensor:
        """The unit codewords (m, k, d) that codes are read with."""
        return unit(self.keys if self.values is None else self.values)

    def forward(self, embeddings: Tensor) -> Quantized:
        """Quantize embeddings (b, m * d), in float32 or better."""
        with full_precision(embeddings):
            real = self.normalised(embeddings)
            keys, values = unit(self.keys), self.codebooks()
            similarity = torch.einsum("bmd,mkd->bmk", real, keys)
            indices = similarity.argmax(dim=-1)
            attention = partial_attention(similarity, self.kappa, self.alpha)
            soft = torch.einsum("bmk,mkd->bmd", attention, values)
            hard = values[torch.arange(len(values), device=indices.device), indices]
            # hard + 0, written so that the sum is exactly the chosen codeword
            code = hard.detach() + (soft - soft.detach()) if self.ste else soft
        return Quantized(real, hard, code, attention, indices)

    def normalised(self, embeddings: Tensor) -> Tensor:
        """Embeddings (b, m * d) as unit sub-vectors (b, m, d)."""
        codebooks, _, sub_dim = self.keys.shape
        return unit(embeddings.reshape(-1, codebooks, sub_dim))

    @torch.no_grad()
    def set_words(self, words: Tensor) -> None:
        """Put these codewords (m, k, d) into all codebooks, the first process's on every process."""
        for codebooks in self.parameters():
            codebooks.copy_(from_first_process(unit(words)))

    @torch.no_grad()
    def revive(self, dead: Tensor, vectors: Tensor, seed: int) -> None:
        """Draw dead codewords (m, k) anew from vectors (n, m, d), the same ones on every process."""
        for codebooks in self.parameters():
            codebooks.copy_(from_first_process(reseed(codebooks, dead, vectors, seed)))

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring the codewords back to unit length: scores do not depend on it, the size of the next step
        does.
        """
        for codebooks in self.parameters():
            codebooks.copy_(unit(codebooks))


def _random_words(codebooks: int, words: int, sub_dim: int, xavier: bool) -> Tensor:
    drawn = torch.empty(codebooks, words, sub_dim)
    return unit(drawn.uniform_(-1, 1) if xavier else drawn.normal_())
