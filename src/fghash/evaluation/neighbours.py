"""The nearest items themselves, for people to look at; scores come from counts, which need no order."""

from __future__ import annotations

from collections.abc import Callable

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
    distances = _distances_to(gallery)
    parts = [_closest(distances(queries.take(block)), k) for block in _blocks(len(queries))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _blocks(n: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]


def _closest(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    limits = np.partition(distances, k - 1, axis=1)[:, k - 1]
    order = np.stack([_first(row, limit, k) for row, limit in zip(distances, limits, strict=True)])
    return order, np.take_along_axis(distances, order, axis=1)


def _first(distances: np.ndarray, limit: float, k: int) -> np.ndarray:
    """Positions of the k smallest, in order; of equal ones the first."""
    near = np.flatnonzero(distances <= limit)
    found: np.ndarray = near[np.argsort(distances[near], kind="stable")[:k]]
    return found


def _distances_to(gallery: Codes) -> Callable[[Codes], np.ndarray]:
    """A function of a block of queries that gives all their distances (q, g)."""
    if isinstance(gallery, BinaryCodes):
        packed = gallery.packed()

        def hamming(queries: Codes) -> np.ndarray:
            if not isinstance(queries, BinaryCodes):
                raise _incomparable(queries, gallery)
            differing = np.bitwise_count(queries.packed()[:, None] ^ packed)
            return np.asarray(differing.sum(axis=2, dtype=np.int32))

        return hamming
    first, number = distinct_rows(gallery)  # type: ignore[arg-type]
    distances = prepare_distances(gallery.take(first))  # type: ignore[arg-type]

    def of_vectors(queries: Codes) -> np.ndarray:
        if not isinstance(queries, RealCodes):
            raise _incomparable(queries, gallery)
        return distances(queries.vectors)[:, number]

    return of_vectors


def _incomparable(queries: Codes, gallery: Codes) -> InputError:
    return InputError(f"queries: {type(queries).__name__} cannot be compared with {type(gallery).__name__}")
