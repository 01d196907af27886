"""Distances of real queries to the distinct codes of a gallery, in float64 and rounded to float32 at the end.

Identical codes are ranked as one, so they always tie; distinct codes tie if their float32 distances are
equal, and a distance that is all rounding is 0. Lookup tables and their sums run over dimensions and over
codebooks in order, so that neither blocks nor threads nor kernels change a distance of quantized codes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.errors import InputError

Distances = Callable[[np.ndarray], np.ndarray]
_BLOCK = 4096  # real vectors that are in float64 at a time
NOISE = 2.0**-40  # of its terms: what rounding leaves at most of an inner product or a gap that should be 0


def distinct_rows(gallery: QuantizedCodes | RealCodes) -> tuple[np.ndarray, np.ndarray]:
    """Position of an item of each distinct code, and for each item the number of its code (n,)."""
    rows = gallery.indices if isinstance(gallery, QuantizedCodes) else gallery.vectors + 0.0  # -0.0 is 0.0
    width = rows.dtype.itemsize * rows.shape[1]
    whole = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}.get(width)
    keys = np.ascontiguousarray(rows).view(whole or np.dtype((np.void, width))).reshape(-1)
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return np.arange(len(rows)), np.arange(len(rows))
    return first, number.reshape(-1)


def prepare_distances(gallery: QuantizedCodes | RealCodes) -> Distances:
    """A function of queries (q, d) that gives their distances (q, n) float32 to the codes."""
    if isinstance(gallery, QuantizedCodes):
        return _prepare_lookup(gallery)

    of_queries, of_items = scales(gallery)

    def distances(queries: np.ndarray) -> np.ndarray:
        block = _prepared(queries, gallery.similarity) * of_queries
        result = np.empty((len(block), len(gallery)), np.float32)
        for start in range(0, len(gallery), _BLOCK):
            items = _prepared(gallery.vectors[start : start + _BLOCK], gallery.similarity) * of_items
            with np.errstate(over="ignore"):  # a query far beyond the gallery: as far from every item
                result[:, start : start + _BLOCK] = _real_distances(block, items, gallery.similarity)
        return result

    return distances


def scales(gallery: RealCodes) -> tuple[float, float]:
    """Powers of two for queries and items, by which products and squares stay within float32.

    They change no ranking: cosines need none, a dot product may be scaled on one side alone.
    """
    largest = float(np.abs(gallery.vectors).max(initial=0.0))
    scale = 1.0 if gallery.similarity == "cosine" or largest == 0 else 2.0 ** -int(np.frexp(largest)[1])
    return scale if gallery.similarity == "l2" else 1.0, scale


def _real_distances(queries: np.ndarray, items: np.ndarray, similarity: str) -> np.ndarray:
    of_queries, of_items = np.square(queries).sum(axis=1)[:, None], np.square(items).sum(axis=1)
    distances, terms = -(queries @ items.T), np.sqrt(of_queries) * np.sqrt(of_items)
    if similarity == "l2":
        terms = of_queries + of_items
        distances = terms + 2 * distances
    distances[np.abs(distances) <= NOISE * terms] = 0.0
    return np.asarray(distances)


def _prepare_lookup(gallery: QuantizedCodes) -> Distances:
    item_part = item_parts(gallery)

    def distances(queries: np.ndarray) -> np.ndarray:
        tables = lookup_tables(queries, gallery)
        total = query_parts(queries, gallery)[:, None] + item_part
        for j, words in enumerate(gallery.indices.T):
            total += tables[:, j, words]
        return np.asarray(total, dtype=np.float32)

    return distances


def lookup_tables(queries: np.ndarray, gallery: QuantizedCodes) -> np.ndarray:
    """Tables (q, m, k) float64 of queries (q, d): one entry of each table, summed, is the distance to a code.

    Additive codes under l2 add :func:`query_parts` and :func:`item_parts`, by which the squares are
    completed.
    """
    q = queries.astype(np.float64)
    m, _, d = gallery.codebooks.shape
    parts = q.reshape(len(q), m, d) if gallery.structure == "product" else np.repeat(q[:, None], m, axis=1)
    square = gallery.structure == "product" and gallery.similarity == "l2"
    tables = np.zeros((len(q), *gallery.codebooks.shape[:2]))
    for i in range(d):
        value, word = parts[:, :, i, None], gallery.codebooks[None, :, :, i].astype(np.float64)
        tables += np.square(value - word) if square else value * word
    if square:
        return tables
    return tables * (-2.0 if gallery.similarity == "l2" else -1.0)


def query_parts(queries: np.ndarray, gallery: QuantizedCodes) -> np.ndarray:
    """What depends on the query alone (q,): its squared norm for additive codes under l2, otherwise 0."""
    if gallery.structure == "product" or gallery.similarity == "dot":
        return np.zeros(len(queries))
    return np.asarray(np.square(queries.astype(np.float64)).sum(axis=1))


def item_parts(gallery: QuantizedCodes) -> np.ndarray:
    """What depends on the item alone (n,): its squared norm for additive codes under l2, otherwise 0."""
    if gallery.structure == "product" or gallery.similarity == "dot":
        return np.zeros(len(gallery))
    total = np.zeros((len(gallery), gallery.dimensions))
    for book, words in zip(gallery.codebooks.astype(np.float64), gallery.indices.T, strict=True):
        total += book[words]
    return np.asarray(np.square(total).sum(axis=1))


def _prepared(vectors: np.ndarray, similarity: str) -> np.ndarray:
    """Float64 vectors, of length 1 for cosine; a zero vector stays zero."""
    vectors = vectors.astype(np.float64)
    if similarity != "cosine":
        return vectors
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))


def require_width(queries: RealCodes, gallery: QuantizedCodes | RealCodes) -> None:
    """Refuse queries that are not as wide as the gallery's vectors."""
    width = gallery.dimensions if isinstance(gallery, QuantizedCodes) else gallery.vectors.shape[1]
    if queries.vectors.shape[1] != width:
        raise InputError(
            f"queries: {queries.vectors.shape[1]} dimensions, the gallery has {width}, expected the same"
        )
