"""RQ and LSQ: a vector as the sum of a codeword from each codebook (residual quantization, Chen, Guan and
Wang, Sensors 2010; local search quantization, Martinez, Clement, Hoos and Little, ECCV 2016).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.codes import QuantizedCodes
from fghash.layers.precision import full_precision
from fghash.layers.quantizers import k_means, nearness
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .words import QuantizingMethod, a_seed

_CHUNK = 2**25  # numbers held at a time while candidates are compared


def summed(indices: Tensor, codebooks: Tensor) -> Tensor:
    """What codes (n, m) stand for, (n, d): the sum of their codewords of codebooks (m, k, d)."""
    total = torch.zeros(len(indices), codebooks.shape[2], dtype=codebooks.dtype, device=codebooks.device)
    for book, index in zip(codebooks, indices.T, strict=True):
        total += book[index]
    return total


def beam_search(x: Tensor, codebooks: Tensor, beam: int) -> Tensor:
    """Codes (n, m) of ``x`` (n, d), codebook after codebook, with the ``beam`` best beginnings kept."""
    rows = max(1, _CHUNK // (beam * (codebooks.shape[1] + codebooks.shape[2])))
    if torch.compiler.is_exporting():  # a graph for any number of items has no blocks of them
        return _beam(x, codebooks, beam)[0][:, 0]
    return torch.cat([_beam(part, codebooks, beam)[0][:, 0] for part in torch.split(x, rows)])


def _beam(x: Tensor, codebooks: Tensor, beam: int) -> tuple[Tensor, Tensor]:
    """The best codes (n, beam, m), best first, and what they leave over (n, beam, d)."""
    residuals = x[:, None]
    codes = torch.zeros(x.shape[0], 1, 0, dtype=torch.long, device=x.device)
    for book in codebooks:
        left = -nearness(residuals, book)  # squared distances (n, beam, k)
        kept = min(beam, left[0].numel())
        best = left.flatten(1).topk(kept, largest=False).indices
        start, word = best // len(book), best % len(book)
        codes = torch.cat(
            [codes.gather(1, start[..., None].expand(-1, -1, codes.shape[2])), word[..., None]], 2
        )
        residuals = residuals.gather(1, start[..., None].expand(-1, -1, x.shape[1])) - book[word]
    return codes, residuals


def residual_codebooks(x: Tensor, count: int, words: int, beam: int, iterations: int = 25) -> Tensor:
    """Codebooks (count, words, d), each by k-means on what the ones before leave over."""
    codebooks = x.new_zeros(0, words, x.shape[1])
    residual = x
    for _ in range(count):
        book = k_means(residual, words, score=nearness, seed=a_seed(), iterations=iterations).to(x.dtype)
        codebooks = torch.cat([codebooks, book[None]])
        residual = x - summed(beam_search(x, codebooks, beam), codebooks)
    return codebooks


def least_squares_codebooks(x: Tensor, indices: Tensor, words: int, regularisation: float = 1e-4) -> Tensor:
    """The codebooks (m, words, d) with which codes (n, m) come closest to ``x`` (LSQ, eq. 4), one linear
    system.

    The regularisation keeps codewords that nobody chose at zero.
    """
    n, m = indices.shape
    chosen = torch.zeros(n, m * words, dtype=torch.float64)
    chosen.scatter_(1, indices + words * torch.arange(m), 1.0)
    gram = chosen.T @ chosen + regularisation * torch.eye(m * words, dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(gram, chosen.T @ x.double())
    return solution.reshape(m, words, -1).to(x.dtype)


def local_search(x: Tensor, codebooks: Tensor, indices: Tensor, rounds: int) -> Tensor:
    """Better codes (n, m), by iterated local search (LSQ, algorithm 1).

    A round changes up to four codewords, then sets one codebook after the other to its best word with the
    others fixed (iterated conditional modes); what a round does not improve stays. The draws are the same for
    all items, so that a code does not depend on its batch. 0 rounds leave the codes; the distance never
    increases.
    """
    m = len(codebooks)
    unary = codebooks.square().sum(-1)[None] - 2 * torch.einsum("nd,mkd->nmk", x, codebooks)
    between = 2 * torch.einsum("akd,bld->akbl", codebooks, codebooks)
    best, least = indices, _energy(indices, unary, between)
    for changes in _draws(m, codebooks.shape[1], rounds):
        tried = best.clone()
        for place, word in changes:
            tried[:, place] = word
        for _ in range(4):
            for book in range(m):
                cost = unary[:, book].clone()
                for other in range(m):
                    if other != book:
                        cost += between[other, tried[:, other], book]
                tried[:, book] = cost.argmin(1)
        energy = _energy(tried, unary, between)
        best = torch.where((energy < least)[:, None], tried, best)
        least = torch.minimum(energy, least)
    return best


@cache  # a traced graph has the draws that an encoding before it has made
def _draws(m: int, words: int, rounds: int) -> list[list[tuple[int, int]]]:
    """Places and codewords that each round changes."""
    generator, drawn = torch.Generator().manual_seed(0), []
    for _ in range(rounds):
        places = torch.randperm(m, generator=generator)[: max(1, min(4, m // 2))]
        chosen = torch.randint(words, places.shape, generator=generator)
        drawn.append(list(zip(places.tolist(), chosen.tolist(), strict=True)))
    return drawn


def _energy(indices: Tensor, unary: Tensor, between: Tensor) -> Tensor:
    """Squared distances (n,) less the vectors' own squares."""
    total = unary.gather(2, indices[..., None]).sum((1, 2))
    for first in range(indices.shape[1]):
        for second in range(first + 1, indices.shape[1]):
            total = total + between[first, indices[:, first], second, indices[:, second]]
    return total


class RQ(QuantizingMethod):
    """Codebook after codebook on what is left over, with several beginnings kept.

    Args:
        normalise: divide every vector by its length before it is centred.
        words: codewords of a codebook; ``None``: as many of up to 256 as make the length come out even.
        beam: beginnings that are kept while encoding; 1 is greedy.
        iterations: of k-means.
    """

    codebooks: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        words: int | None = None,
        beam: int = 5,
        iterations: int = 25,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise, words)
        require(1 <= beam <= 1024, "beam", beam, "1 to 1024")
        require(0 <= iterations <= 10_000, "iterations", iterations, "0 to 10000")
        self.beam, self.iterations = beam, iterations
        self.register_buffer("codebooks", torch.randn(self.count, self.words, backbone.width))

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """The codebooks, one after the other."""
        self.keep(codebooks=residual_codebooks(x.float(), self.count, self.words, self.beam, self.iterations))

    def forward(self, features: Features) -> Tensor:
        """The vectors (b, width) that are quantized."""
        return self.inputs(features)

    def indices(self, x: Tensor) -> Tensor:
        """The codes (n, m) of vectors (n, width)."""
        return beam_search(x, self.codebooks, self.beam)

    def encode(self, features: Features) -> QuantizedCodes:
        """A codeword of each codebook."""
        return QuantizedCodes(
            self.code_values(features).numpy(force=True), self.codebooks.numpy(force=True), "additive", "l2"
        )

    def code_values(self, features: Features) -> Tensor:
        """Indices (b, m) of the codewords."""
        with full_precision(features.vector):
            return self.indices(self(features))


class LSQ(RQ):
    """Codes by local search and codebooks by least squares, in turns, from those of RQ.

    Args:
        normalise: divide every vector by its length before it is centred.
        words: codewords of a codebook; ``None``: as many of up to 256 as make the length come out even.
        beam: of the codes that the search starts from.
        iterations: of k-means, for the codebooks that it starts from.
        turns: of codes and codebooks (paper: 100).
        rounds: of local search for each code (paper: 16 and 32 when encoding).
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        words: int | None = None,
        beam: int = 5,
        iterations: int = 25,
        turns: int = 10,
        rounds: int = 8,
    ) -> None:
        super().__init__(
            backbone, num_classes, bits, optim,
            normalise=normalise, words=words, beam=beam, iterations=iterations,
        )  # fmt: skip
        require(0 <= turns <= 10_000, "turns", turns, "0 to 10000")
        require(0 <= rounds <= 10_000, "rounds", rounds, "0 to 10000")
        self.turns, self.rounds = turns, rounds

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """From RQ's codebooks and codes on, in turns."""
        x = x.float()
        codebooks = residual_codebooks(x, self.count, self.words, self.beam, self.iterations)
        indices = beam_search(x, codebooks, self.beam)
        for _ in range(self.turns):
            codebooks = least_squares_codebooks(x, indices, self.words)
            indices = local_search(x, codebooks, indices, self.rounds)
        self.keep(codebooks=codebooks)

    def indices(self, x: Tensor) -> Tensor:
        """The codes (n, m) of vectors (n, width)."""
        start = beam_search(x, self.codebooks, self.beam)
        return local_search(x, self.codebooks, start, self.rounds)
