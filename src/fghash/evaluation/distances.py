"""Distances of real queries to the distinct codes of a gallery, in float64 and rounded to float32 at the end.

Identical codes are ranked as one, so they always tie; distinct codes tie if their float32 distances are
equal. Sums run over dimensions and over codebooks in order, so neither blocks nor threads change a
distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.errors import InputError


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of each distinct row of (n, w), and for each row which distinct row it is (n,)."""
    rows = np.ascontiguousarray(rows)
    if rows.dtype.kind == "f":
        rows = rows + 0.0  # minus zero is zero
    width = rows.dtype.itemsize * rows.shape[1]
    small = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}.get(width)
    keys = rows.view(small or np.dtype((np.void, width))).reshape(-1)
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    return first, number.reshape(-1)


@dataclass(frozen=True, eq=False)
class LookupTables:
    """Distance of a query to a code: ``query_part + item_part`` plus one entry of each table, in order.

    ``tables`` (q, m, k), ``query_part`` (q,), ``item_part`` (n,), all float64.
    """

    tables: np.ndarray
    query_part: np.ndarray
    item_part: np.ndarray


def lookup_tables(queries: np.ndarray, gallery: QuantizedCodes, item_part: np.ndarray) -> LookupTables:
    """Tables of queries (q, dimensions). ``item_part``: see :func:`item_parts`."""
    q = queries.astype(np.float64)
    m, _, d = gallery.codebooks.shape
    parts = q.reshape(len(q), m, d) if gallery.structure == "product" else np.repeat(q[:, None], m, axis=1)
    tables = np.zeros((len(q), *gallery.codebooks.shape[:2]))
    whole = gallery.similarity == "l2" and gallery.structure == "product"
    for i in range(d):
        value, word = parts[:, :, i, None], gallery.codebooks[None, :, :, i].astype(np.float64)
        tables += np.square(value - word) if whole else value * word
    if not whole:
        tables *= -1.0 if gallery.similarity == "dot" else -2.0
    additive_l2 = gallery.similarity == "l2" and not whole
    query_part = np.square(q).sum(axis=1) if additive_l2 else np.zeros(len(q))
    return LookupTables(tables, query_part, item_part)


def item_parts(gallery: QuantizedCodes) -> np.ndarray:
    """What depends on the item alone (n,): the squared norm of an additive code under l2, otherwise 0."""
    if gallery.structure == "product" or gallery.similarity == "dot":
        return np.zeros(len(gallery))
    total = np.zeros((len(gallery), gallery.dimensions))
    for book, words in zip(gallery.codebooks.astype(np.float64), gallery.indices.T, strict=True):
        total += book[words]
    return np.asarray(np.square(total).sum(axis=1))


def lookup_distances(tables: LookupTables, indices: np.ndarray) -> np.ndarray:
    """Distances (q, n) float32 to codes of ``indices`` (n, m)."""
    total = tables.query_part[:, None] + tables.item_part
    for j, words in enumerate(indices.T):
        total += tables.tables[:, j, words]
    return np.asarray(total, dtype=np.float32)


def real_distances(queries: np.ndarray, gallery: np.ndarray, similarity: str) -> np.ndarray:
    """Distances (q, n) float32 between vectors, as ``similarity`` says (see RealCodes)."""
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    if similarity == "cosine":
        q, g = _unit(q), _unit(g)
    products = q @ g.T
    if similarity == "l2":
        norms = np.square(q).sum(axis=1)[:, None] + np.square(g).sum(axis=1)
        return np.asarray(norms - 2 * products, dtype=np.float32)
    return np.asarray(-products, dtype=np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; a zero vector stays zero."""
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))


def require_width(queries: RealCodes, width: int) -> None:
    """Refuse queries that are not as wide as the gallery's vectors."""
    if queries.vectors.shape[1] != width:
        raise InputError(
            f"queries: {queries.vectors.shape[1]} dimensions, the gallery has {width}, expected the same"
        )
