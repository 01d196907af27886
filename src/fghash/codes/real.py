"""Real codes: uncompressed vectors, the upper bound of every table and the queries of quantized galleries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fghash.codes.kinds import as_float32, require_choice, require_matrix
from fghash.errors import InputError


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) divided by their lengths, float32; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


SIMILARITIES = ("cosine", "dot", "l2")


@dataclass(frozen=True, eq=False)
class RealCodes:
    """Vectors (n, d) float32.

    ``similarity``: ``cosine`` or ``dot`` (the distance is minus the value), or ``l2`` (squared distance).

    As queries of another gallery they are compared by that gallery's similarity.

    Raises:
        InputError: not a matrix of finite numbers, or an unknown similarity.
    """

    vectors: np.ndarray
    similarity: str = "cosine"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", as_float32(self.vectors, "vectors"))
        require_matrix(self.vectors, "vectors")
        require_choice(self.similarity, SIMILARITIES, "similarity")

    @property
    def bits_per_item(self) -> int:
        """32 bits a dimension."""
        return 32 * int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, indices: Any) -> RealCodes:
        """The items at these positions."""
        return RealCodes(self.vectors[indices], self.similarity)

    def prefix(self, bits: int) -> RealCodes:
        """Not defined: real vectors are not nested.

        Raises:
            InputError: always.
        """
        raise InputError(f"prefix: real vectors have no nested code of {bits} bits")
