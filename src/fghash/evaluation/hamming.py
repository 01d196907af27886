"""Tie groups of binary codes: count distances, sort nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.evaluation.ranking import TieGroups, groups_of_histograms, join_groups
from fghash.evaluation.relevance import Relevance, Runs
from fghash.evaluation.work import Work

Kernel = Callable[[np.ndarray, np.ndarray, Runs, np.ndarray, np.ndarray], None]
_MOST_QUERIES = 256


def hamming_groups(queries: BinaryCodes, gallery: BinaryCodes, relevance: Relevance, work: Work) -> TieGroups:
    """Tie groups by Hamming distance, block by block of queries.

    Raises:
        InputError: code lengths differ.
    """
    bits = gallery.bits_per_item
    if queries.bits_per_item != bits:
        raise InputError(f"bits: queries have {queries.bits_per_item}, the gallery {bits}, expected the same")
    count = _kernel(work.kernel)
    query_words, gallery_words = queries.words(), gallery.words()[relevance.order]

    def block(start: int, stop: int) -> TieGroups:
        total = np.zeros((stop - start, bits + 1), dtype=np.int64)
        relevant = np.zeros_like(total)
        count(query_words[start:stop], gallery_words, relevance.runs(start, stop), total, relevant)
        return groups_of_histograms(total, relevant, len(gallery), bits)

    an_item = 6 * 8 * (bits + 1) + 32 * len(relevance.gallery_sets)
    return join_groups(work.map(block, work.blocks(len(queries), an_item, _MOST_QUERIES)))


def _kernel(name: str) -> Kernel:
    if name == "numba":
        from fghash.evaluation import hamming_numba

        return hamming_numba.count
    return count_numpy


def count_numpy(
    queries: np.ndarray, gallery: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items, from uint64 words."""
    length = total.shape[1]
    for i, query in enumerate(queries):
        distance = np.bitwise_count(gallery ^ query).sum(axis=1, dtype=np.int64)
        total[i] = np.bincount(distance, minlength=length)
        for run in range(runs.offsets[i], runs.offsets[i + 1]):
            found = distance[runs.starts[run] : runs.stops[run]]
            relevant[i] += np.bincount(found, minlength=length)
