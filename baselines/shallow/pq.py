"""PQ and OPQ: product quantization (Jegou, Douze and Schmid, TPAMI 2011), with a learned rotation (Ge, He, Ke
and Sun, CVPR 2013).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.codes import QuantizedCodes
from fghash.layers.precision import full_precision
from fghash.layers.quantizers import k_means, nearness
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .projections import nearest_rotation, principal_directions
from .words import QuantizingMethod, a_seed


def split(x: Tensor, count: int) -> Tensor:
    """Vectors (n, d) in ``count`` parts, (count, n, d / count); zeros fill up where d is no multiple."""
    missing = -x.shape[1] % count
    return functional.pad(x, (0, missing)).reshape(x.shape[0], count, -1).transpose(0, 1)


def product_codebooks(x: Tensor, count: int, words: int, iterations: int = 25) -> Tensor:
    """Codebooks (count, words, d / count) by k-means on each part of ``x`` (n, d)."""
    parts = split(x, count)
    return torch.stack([
        k_means(part, words, score=nearness, seed=a_seed(), iterations=iterations) for part in parts
    ])  # fmt: skip


def nearest_words(x: Tensor, codebooks: Tensor) -> Tensor:
    """Indices (n, count) of the nearest codeword of each part."""
    return nearness(split(x, len(codebooks)), codebooks.to(x.dtype)).argmax(-1).T


def joined(indices: Tensor, codebooks: Tensor) -> Tensor:
    """The codewords (n, count * d / count) that indices (n, count) stand for."""
    words = [book[index] for book, index in zip(codebooks, indices.T, strict=True)]
    return torch.cat(words, dim=1)


def balanced_directions(x: Tensor, dimensions: int, count: int) -> Tensor:
    """Principal directions (width, dimensions) in an order in which ``count`` equal parts have like products
    of variances (eigenvalue allocation, section 3.2 of OPQ).
    """
    directions = principal_directions(x, dimensions)
    logarithms = (x @ directions).square().mean(0).clamp_min(1e-30).log()
    variances = logarithms - logarithms.min()  # above 1, so that a product grows with every factor
    room = dimensions // count
    parts: list[list[int]] = [[] for _ in range(count)]
    for place in range(dimensions):  # greatest variance first
        open_parts = [part for part in parts if len(part) < room]
        least = min(open_parts, key=lambda part: float(variances[part].sum()) if part else -torch.inf)
        least.append(place)
    return directions[:, [place for part in parts for place in part]]


def optimised_rotation(x: Tensor, count: int, words: int, iterations: int) -> tuple[Tensor, Tensor]:
    """A rotation R (d, d) and codebooks of ``x @ R`` that quantize with little distortion (algorithm 1).

    In turns the codewords of the rotated vectors, their means, and the nearest rotation of the vectors to
    what their codes stand for; the distortion never increases.
    """
    rotation = torch.eye(x.shape[1], dtype=x.dtype)
    codebooks = product_codebooks(x, count, words, iterations=10).to(x.dtype)
    for _ in range(iterations):
        rotated = x @ rotation
        indices = nearest_words(rotated, codebooks)
        codebooks = means(rotated, indices, codebooks)
        rotation = nearest_rotation(x, joined(indices, codebooks)[:, : x.shape[1]])
    return rotation, codebooks


def means(x: Tensor, indices: Tensor, codebooks: Tensor) -> Tensor:
    """Codebooks of the means of the parts that chose each codeword; one that nobody chose stays."""
    found = codebooks.clone()
    for book, part, index in zip(found, split(x, len(codebooks)), indices.T, strict=True):
        counts = torch.bincount(index, minlength=len(book)).to(x.dtype)
        sums = torch.zeros_like(book).index_add_(0, index, part)
        book[counts > 0] = (sums / counts.clamp_min(1)[:, None])[counts > 0]
    return found


class PQ(QuantizingMethod):
    """k-means on each of several parts of the vector.

    Args:
        normalise: divide every vector by its length before it is centred.
        words: codewords of a codebook; ``None``: as many of up to 256 as make the length come out even.
        dimensions: principal directions that are kept; ``None`` keeps the vector as it is.
        iterations: of k-means.
    """

    codebooks: Tensor
    transform: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        words: int | None = None,
        dimensions: int | None = None,
        iterations: int = 25,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise, words)
        require(0 <= iterations <= 10_000, "iterations", iterations, "0 to 10000")
        require(dimensions is None or dimensions >= 1, "dimensions", dimensions, "1 and more, or null")
        self.dimensions = self._even(min(dimensions or backbone.width, backbone.width))
        self.iterations = iterations
        kept = 0 if self.dimensions == backbone.width else backbone.width  # no rows: the vector as it is
        self.register_buffer("transform", torch.eye(kept, self.dimensions))
        self.register_buffer("codebooks", torch.randn(self.count, self.words, self.part))

    @property
    def part(self) -> int:
        """Dimensions of a codeword."""
        return -(-self.dimensions // self.count)

    def _even(self, dimensions: int) -> int:
        return dimensions

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """Fewer dimensions where requested, then the codebooks."""
        if self.dimensions < x.shape[1]:
            self.keep(transform=principal_directions(x, self.dimensions))
            x = x @ self.transform.double()
        self.keep(codebooks=product_codebooks(x.float(), self.count, self.words, self.iterations))

    def forward(self, features: Features) -> Tensor:
        """The vectors (b, count * part) that are quantized."""
        values = self.inputs(features)
        values = values @ self.transform if len(self.transform) else values
        return functional.pad(values, (0, self.count * self.part - self.dimensions))

    def encode(self, features: Features) -> QuantizedCodes:
        """The nearest codeword of each part."""
        return QuantizedCodes(
            self.code_values(features).numpy(force=True), self.codebooks.numpy(force=True), "product", "l2"
        )

    def code_values(self, features: Features) -> Tensor:
        """Indices (b, m) of the nearest codewords."""
        with full_precision(features.vector):
            return nearest_words(self(features), self.codebooks)


class OPQ(PQ):
    """PQ after a rotation that is optimised together with the codebooks.

    Args:
        normalise: divide every vector by its length before it is centred.
        words: codewords of a codebook; ``None``: as many of up to 256 as make the length come out even.
        dimensions: principal directions that are kept, rounded down to a multiple of the codebooks; ``None``
            keeps as many as there are.
        iterations: of codewords, means and rotation in turns.
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
        dimensions: int | None = 256,
        iterations: int = 50,
    ) -> None:
        super().__init__(
            backbone, num_classes, bits, optim,
            normalise=normalise, words=words, dimensions=dimensions, iterations=iterations,
        )  # fmt: skip

    def _even(self, dimensions: int) -> int:
        require(dimensions >= self.count, "dimensions", dimensions, f"{self.count} (the codebooks) and more")
        return dimensions // self.count * self.count

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """Balanced principal directions, then rotation and codebooks in turns."""
        directions = balanced_directions(x, self.dimensions, self.count)
        balanced = (x @ directions).float()
        rotation, codebooks = optimised_rotation(balanced, self.count, self.words, self.iterations)
        self.keep(transform=directions @ rotation.double(), codebooks=codebooks)
