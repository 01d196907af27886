"""What every quantizer with learned codebooks shares: exact similarities, k-means starts, codewords in
use.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from fghash.errors import InputError
from fghash.layers.precision import at_least_float32
from fghash.layers.requirements import require

Score = Callable[[Tensor, Tensor], Tensor]


def codebooks_for(bits: int, words: int) -> int:
    """How many codebooks of ``words`` codewords make a code of ``bits`` bits.

    >>> codebooks_for(32, 256), codebooks_for(12, 64)
    (4, 2)

    Raises:
        InputError: ``words`` is no power of two from 2 to 65536, or ``bits`` no multiple of log2(words).
    """
    require(2 <= words <= 65536 and words & (words - 1) == 0, "words", words, "powers of two from 2 to 65536")
    per_word = words.bit_length() - 1
    if bits < per_word or bits % per_word:
        some = ", ".join(str(per_word * count) for count in range(1, 5))
        raise InputError(
            f"bits: got {bits}, allowed with {words} codewords are multiples of {per_word}: {some}, ..."
        )
    return bits // per_word


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., d) divided by their length; a zero vector stays zero and gives no NaN."""
    return functional.normalize(at_least_float32(vectors), dim=-1)


def cosine(points: Tensor, centres: Tensor) -> Tensor:
    """Cosines (..., n, k) of points (..., n, d) and centres (..., k, d); 0 where a vector is zero."""
    return unit(points) @ unit(centres).transpose(-1, -2)


def nearness(points: Tensor, centres: Tensor) -> Tensor:
    """Minus the squared distances (..., n, k) of points (..., n, d) and centres (..., k, d)."""
    points, centres = at_least_float32(points), at_least_float32(centres)
    inner = points @ centres.transpose(-1, -2)
    lengths = (points**2).sum(-1).unsqueeze(-1) + (centres**2).sum(-1).unsqueeze(-2)
    return 2 * inner - lengths


@torch.no_grad()
def k_means(
    points: Tensor, words: int, *, score: Score = cosine, seed: int = 0, iterations: int = 25
) -> Tensor:
    """Lloyd's algorithm: centres (codewords, d) of points (n, d), each the mean of the points it serves.

    A point belongs to the centre with the greatest ``score``: with :func:`cosine` on unit vectors this is
    spherical k-means (normalise the centres), with :func:`nearness` the ordinary one. A centre without points
    is drawn again from the points; with fewer points than codewords some centres coincide.
    """
    points = at_least_float32(points)
    generator = torch.Generator().manual_seed(seed)
    centres = points[_draw(len(points), words, generator).to(points.device)]
    for _ in range(iterations):
        nearest = score(points, centres).argmax(dim=-1)
        centres = _means(points, nearest, words, generator)
    return centres


def _draw(available: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Indices of ``wanted`` items, none twice before all were drawn once."""
    rounds = max(1, -(-wanted // available))
    return torch.cat([torch.randperm(available, generator=generator) for _ in range(rounds)])[:wanted]


def _means(points: Tensor, nearest: Tensor, words: int, generator: torch.Generator) -> Tensor:
    # A matrix product, because index_add on a GPU sums in any order: two runs would differ.
    members = functional.one_hot(nearest, words).to(points.dtype)
    counts = members.sum(dim=0)
    means = members.T @ points / counts.clamp(min=1)[:, None]
    fresh = points[_draw(len(points), words, generator).to(points.device)]
    return torch.where(counts[:, None] > 0, means, fresh)


@torch.no_grad()
def reseed(codebooks: Tensor, dead: Tensor, candidates: Tensor, seed: int) -> Tensor:
    """Codebooks (m, k, d) whose dead codewords (m, k) are replaced by random candidates (n, m, d)."""
    generator = torch.Generator().manual_seed(seed)
    codebooks = codebooks.clone()
    for book, gone in enumerate(dead):
        drawn = _draw(len(candidates), int(gone.sum()), generator).to(candidates.device)
        codebooks[book, gone] = candidates[drawn, book].to(codebooks.dtype)
    return codebooks


def from_first_process(values: Tensor) -> Tensor:
    """The first process's values, written in place on the others; no change where there is only one."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(values, src=0)
    return values


class WordUsage(nn.Module):
    """How often each codeword of m codebooks was chosen since the last reset; kept in checkpoints."""

    counts: Tensor

    def __init__(self, codebooks: int, words: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(codebooks, words, dtype=torch.long))

    def add(self, indices: Tensor) -> None:
        """Count the chosen codewords (n, m)."""
        self.counts += functional.one_hot(indices, self.words).sum(dim=0)

    def reset(self) -> None:
        """Forget all counts."""
        self.counts.zero_()

    @property
    def words(self) -> int:
        """k, the codewords of a codebook."""
        return int(self.counts.shape[1])

    @property
    def dead(self) -> Tensor:
        """Which codewords (m, k) were never chosen."""
        return self.counts == 0

    @property
    def used(self) -> Tensor:
        """How many codewords of each codebook (m,) were chosen."""
        return (self.counts > 0).sum(dim=1)

    def complaint(self) -> str | None:
        """One line if a codebook uses fewer than half of the codewords that it could, else nothing."""
        fewest = int(self.used.min())
        items = int(self.counts.sum(dim=1).max())
        if 2 * fewest >= min(self.words, items):
            return None
        return f"only {fewest} of {self.words} codewords of a codebook are in use; fewer may do as well"


class Latest:
    """The latest vectors of a stream, about ``limit``: what a warm start or a re-seeding draws from."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: deque[Tensor] = deque()

    def add(self, vectors: Tensor) -> None:
        """Keep these vectors (n, ...) and drop the oldest batches beyond the limit."""
        self._parts.append(vectors.detach().clone())
        while len(self) - len(self._parts[0]) >= self._limit:
            self._parts.popleft()

    def clear(self) -> None:
        """Drop all."""
        self._parts.clear()

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def vectors(self) -> Tensor:
        """All kept vectors (n, ...), oldest first."""
        return torch.cat(list(self._parts))

    def state(self) -> list[Tensor]:
        """For a checkpoint within an epoch: the kept batches."""
        return list(self._parts)

    def load(self, state: Sequence[Tensor], device: torch.device) -> None:
        """Go on from :meth:`state`."""
        self._parts = deque(part.to(device) for part in state)
