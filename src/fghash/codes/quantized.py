"""Quantized codes: indices of codewords; queries stay real and are compared by lookup table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fghash.codes.kinds import as_array, as_float32, require_choice, require_matrix
from fghash.errors import InputError


@dataclass(frozen=True, eq=False)
class QuantizedCodes:
    """Codes of m codewords, one from each codebook of k codewords.

    ``indices`` (n, m) integers in [0, k) (stored as uint8, uint16 or int32, the smallest that holds k);
    ``codebooks`` (m, k, d) float32. ``structure``: ``product`` (an item is its codewords
    concatenated, m*d wide) or ``additive`` (their sum, d wide; the first codewords are a code by themselves).
    ``similarity``: ``dot`` (distance is minus the dot product) or ``l2`` (squared Euclidean distance).

    Raises:
        InputError: shapes that do not fit, an index outside [0, k), NaN, an unknown structure or similarity.
    """

    indices: np.ndarray
    codebooks: np.ndarray
    structure: str = "product"
    similarity: str = "dot"

    def __post_init__(self) -> None:
        codebooks = as_float32(self.codebooks, "codebooks")
        if codebooks.ndim != 3 or 0 in codebooks.shape:
            raise InputError(f"codebooks: shape {codebooks.shape}, expected (m, codewords, dimensions)")
        object.__setattr__(self, "codebooks", codebooks)
        object.__setattr__(self, "indices", _checked_indices(self.indices, codebooks))
        require_choice(self.structure, ("product", "additive"), "structure")
        require_choice(self.similarity, ("dot", "l2"), "similarity")

    @property
    def bits_per_item(self) -> int:
        """m * ceil(log2(k))."""
        m, k, _ = self.codebooks.shape
        return int(m * max(1, int(k - 1).bit_length()))

    @property
    def dimensions(self) -> int:
        """Width of the vectors that the codes stand for, and of the queries."""
        m, _, d = self.codebooks.shape
        return int(m * d if self.structure == "product" else d)

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Any) -> QuantizedCodes:
        """The items at these positions, with the same codebooks."""
        return QuantizedCodes(self.indices[indices], self.codebooks, self.structure, self.similarity)

    def prefix(self, bits: int) -> QuantizedCodes:
        """The codes of the first codebooks, ``bits`` bits together; additive codes refine one another.

        Raises:
            InputError: product codes (except at full length), or bits that are not whole codebooks.
        """
        if bits == self.bits_per_item:
            return self
        per_word = self.bits_per_item // len(self.codebooks)
        if self.structure != "additive":
            raise InputError("prefix: product codes are not nested, expected additive ones")
        if bits % per_word or not per_word <= bits <= self.bits_per_item:
            raise InputError(f"bits: {bits}, expected a multiple of {per_word} up to {self.bits_per_item}")
        m = bits // per_word
        return QuantizedCodes(self.indices[:, :m], self.codebooks[:m], self.structure, self.similarity)

    def decode(self) -> np.ndarray:
        """The vectors that the codes stand for, (n, :attr:`dimensions`) float32."""
        words = [book[index] for book, index in zip(self.codebooks, self.indices.T, strict=True)]
        if self.structure == "product":
            return np.concatenate(words, axis=1)
        return np.asarray(np.sum(words, axis=0, dtype=np.float64), dtype=np.float32)


def _checked_indices(values: Any, codebooks: np.ndarray) -> np.ndarray:
    m, k, _ = codebooks.shape
    indices = as_array(values, "indices")
    require_matrix(indices, "indices")
    if indices.dtype.kind not in "iu":
        raise InputError(f"indices: holds {indices.dtype}, expected integers")
    if indices.shape[1] != m:
        raise InputError(f"indices: {indices.shape[1]} codewords an item, expected {m}, one of each codebook")
    if indices.size and (indices.min() < 0 or indices.max() >= k):
        outside = indices[(indices < 0) | (indices >= k)][0]
        raise InputError(f"indices: value {outside}, expected 0 to {k - 1}")
    small = np.uint8 if k <= 2**8 else np.uint16 if k <= 2**16 else np.int32
    return np.ascontiguousarray(indices, dtype=small)
