"""The numpy kernel of tie groups of quantized and real codes, and what every such kernel gives.

A kernel is a module with ``prepare(gallery, multiplicity, number, work)``, which gives a function that counts
the groups of some queries. ``gallery`` holds the distinct codes (u), ``multiplicity`` (u,) how many items
have each, ``number`` (g,) which of them each item has, in the order of the runs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.evaluation.distances import prepare_distances
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work

# (items closer, items at, relevant items at) each distance that a relevant item has, nearest first
Levels = tuple[np.ndarray, np.ndarray, np.ndarray]
Counter = Callable[[np.ndarray, Runs], list[Levels]]


def prepare(
    gallery: QuantizedCodes | RealCodes, multiplicity: np.ndarray, number: np.ndarray, work: Work
) -> Counter:
    """The numpy kernel."""
    distances = prepare_distances(gallery)

    def count(queries: np.ndarray, runs: Runs) -> list[Levels]:
        rows = distances(queries)
        return [count_levels(row, multiplicity, runs.select(i, number)) for i, row in enumerate(rows)]

    return count


def count_levels(distance: np.ndarray, multiplicity: np.ndarray, relevant: np.ndarray) -> Levels:
    """Levels of a query: ``distance`` (u,) to the distinct codes, ``relevant`` (r,) those that count."""
    levels, counts = np.unique(distance[relevant], return_counts=True)
    place = np.searchsorted(levels, distance)
    at_level = np.append(levels, np.nan)[place] == distance
    size = np.bincount(place[at_level], weights=multiplicity[at_level], minlength=len(levels))
    between = np.bincount(place[~at_level], weights=multiplicity[~at_level], minlength=len(levels))[
        : len(levels)
    ]
    return np.cumsum(between) + np.cumsum(size) - size, size, counts
