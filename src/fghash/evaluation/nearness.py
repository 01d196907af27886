"""Tie groups of quantized and real codes: only the relevant items are ranked, nothing is sorted whole.

A kernel is a module with ``prepare(gallery, multiplicity, number, work)``, which gives a function that counts
the groups of some queries. ``gallery`` holds the distinct codes (u), ``multiplicity`` (u,) how many items
have each, ``number`` (g,) which of them each item has, in the order of the runs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.evaluation.distances import distinct_rows, prepare_distances, require_width
from fghash.evaluation.ranking import Blocks, TieGroups
from fghash.evaluation.relevance import Relevance, Runs
from fghash.evaluation.work import Work

# (items nearer, items at, relevant items at) each distance that a relevant item has, nearest first
Levels = tuple[np.ndarray, np.ndarray, np.ndarray]
Counter = Callable[[np.ndarray, Runs], list[Levels]]


def nearness_blocks(
    queries: RealCodes, gallery: QuantizedCodes | RealCodes, relevance: Relevance, work: Work
) -> Blocks:
    """Tie groups that hold a relevant item, for any block of queries.

    Raises:
        InputError: queries of another width than the gallery's vectors.
    """
    require_width(queries, gallery)
    first, number = distinct_rows(gallery)
    multiplicity = np.bincount(number).astype(np.int32)
    distinct = gallery if len(first) == len(gallery) else gallery.take(first)
    count = _prepare(distinct, multiplicity, number[relevance.order], work)

    def block(start: int, stop: int) -> TieGroups:
        levels = count(queries.vectors[start:stop], relevance.runs(start, stop))
        offsets = np.cumsum([0, *(len(sizes) for _, sizes, _ in levels)])
        parts = [np.concatenate(part).astype(np.int32) for part in zip(*levels, strict=True)]
        return TieGroups(offsets, parts[0], parts[1], parts[2], None, len(gallery), gallery.bits_per_item)

    return Blocks(block, 40 * len(first) + 200 * relevance.most + relevance.bytes_a_query)


def _prepare(
    gallery: QuantizedCodes | RealCodes, multiplicity: np.ndarray, number: np.ndarray, work: Work
) -> Counter:
    if work.kernel == "numba":
        from fghash.evaluation import nearness_numba

        return nearness_numba.prepare(gallery, multiplicity, number, work)
    if work.kernel == "torch":
        from fghash.evaluation import nearness_torch

        return nearness_torch.prepare(gallery, multiplicity, number, work)
    return prepare(gallery, multiplicity, number, work)


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
