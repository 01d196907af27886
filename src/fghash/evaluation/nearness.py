"""Tie groups of quantized and real codes: only the relevant items are ranked, nothing is sorted whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.evaluation.distances import (
    distinct_rows,
    item_parts,
    lookup_distances,
    lookup_tables,
    real_distances,
    require_width,
)
from fghash.evaluation.ranking import TieGroups, join_groups
from fghash.evaluation.relevance import Relevance, Runs
from fghash.evaluation.work import Work

Distances = Callable[[np.ndarray], np.ndarray]
_MOST_QUERIES = 64


def nearness_groups(
    queries: RealCodes, gallery: QuantizedCodes | RealCodes, relevance: Relevance, work: Work
) -> TieGroups:
    """Tie groups that hold a relevant item, block by block of queries.

    Raises:
        InputError: queries of another width than the gallery's vectors.
    """
    rows = gallery.indices if isinstance(gallery, QuantizedCodes) else gallery.vectors
    first, number = distinct_rows(rows)
    multiplicity = np.bincount(number)
    number = number[relevance.order]
    distances = _distances(queries, gallery.take(first))

    def block(start: int, stop: int) -> TieGroups:
        near = distances(queries.vectors[start:stop])
        parts = _count_numpy(near, multiplicity, number, relevance.runs(start, stop))
        return TieGroups(*parts, None, len(gallery), gallery.bits_per_item)

    an_item = 32 * len(first) + 32 * len(relevance.gallery_sets)
    return join_groups(work.map(block, work.blocks(len(queries), an_item, _MOST_QUERIES)))


def _distances(queries: RealCodes, gallery: QuantizedCodes | RealCodes) -> Distances:
    if isinstance(gallery, RealCodes):
        require_width(queries, gallery.vectors.shape[1])
        return lambda block: real_distances(block, gallery.vectors, gallery.similarity)
    require_width(queries, gallery.dimensions)
    item_part = item_parts(gallery)
    return lambda block: lookup_distances(lookup_tables(block, gallery, item_part), gallery.indices)


Counts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _count_numpy(distances: np.ndarray, multiplicity: np.ndarray, number: np.ndarray, runs: Runs) -> Counts:
    """Offsets, nearer, size and relevant of the groups with a relevant item.

    ``distances`` (q, u) to the distinct codes, ``multiplicity`` (u,) items that have each, ``number`` (g,)
    the distinct code of each item in the order of ``runs``.
    """
    counts = []
    for i, row in enumerate(distances):
        spans = range(runs.offsets[i], runs.offsets[i + 1])
        relevant = [number[runs.starts[run] : runs.stops[run]] for run in spans]
        counts.append(_count_row(row, multiplicity, np.concatenate([*relevant, number[:0]])))
    offsets = np.cumsum([0, *(len(sizes) for _, sizes, _ in counts)])
    nearer, size, relevant_in = (np.concatenate(part).astype(np.int32) for part in zip(*counts, strict=True))
    return offsets, nearer, size, relevant_in


def _count_row(
    distance: np.ndarray, multiplicity: np.ndarray, relevant: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items nearer than, at, and relevant items at each distance that a relevant item has, in order."""
    levels, counts = np.unique(distance[relevant], return_counts=True)
    place = np.searchsorted(levels, distance)
    at_level = np.append(levels, np.nan)[place] == distance
    size = np.bincount(place[at_level], weights=multiplicity[at_level], minlength=len(levels))
    between = np.bincount(place[~at_level], weights=multiplicity[~at_level], minlength=len(levels))[
        : len(levels)
    ]
    return np.cumsum(between) + np.cumsum(size) - size, size, counts
