"""The nearest items themselves, for people to look at; scores come from counts, which need no order."""

from __future__ import annotations

import numpy as np

from fghash.codes import BinaryCodes, Codes, RealCodes
from fghash.errors import InputError
from fghash.evaluation.distances import distinct_rows, prepare_distances

_BLOCK = 64  # queries at a time


def nearest(queries: Codes, gallery: Codes, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (q, k) of the k nearest items of each query, closest first, and their distances (q, k).

    Items at one distance come in the order of the gallery: which of them are shown is an accident.

    Raises:
        InputError: codes that cannot be compared, or fewer than k items.
    """
    if not 1 <= k <= len(gallery):
        raise InputError(f"k: {k}, expected 1 to the {len(gallery)} items of the gallery")
    parts = [_of_block(queries, gallery, k, start) for start in range(0, len(queries), _BLOCK)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _of_block(queries: Codes, gallery: Codes, k: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    block = queries.take(np.arange(start, min(start + _BLOCK, len(queries))))
    distances = _distances(block, gallery)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def _distances(queries: Codes, gallery: Codes) -> np.ndarray:
    """All distances (q, g) of a block of queries."""
    if isinstance(queries, BinaryCodes) and isinstance(gallery, BinaryCodes):
        ours, theirs = queries.packed(), gallery.packed()
        return np.asarray(np.bitwise_count(ours[:, None] ^ theirs).sum(axis=2, dtype=np.int32))
    if not isinstance(queries, RealCodes) or isinstance(gallery, BinaryCodes):
        raise InputError(
            f"queries: {type(queries).__name__} cannot be compared with {type(gallery).__name__}"
        )
    first, number = distinct_rows(gallery)  # type: ignore[arg-type]
    return prepare_distances(gallery.take(first))(queries.vectors)[:, number]  # type: ignore[arg-type]
