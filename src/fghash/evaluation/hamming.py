"""Tie groups of binary codes: count distances, sort nothing.

A kernel is a module with ``prepare(gallery_words, bits, work)``, which gives a function that fills the
histograms (queries, bits + 1) of all and of the relevant items for some queries. All give the same counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.evaluation.ranking import Blocks, TieGroups, groups_of_histograms
from fghash.evaluation.relevance import Relevance, Runs
from fghash.evaluation.work import Work

Counter = Callable[[np.ndarray, Runs, np.ndarray, np.ndarray], None]


def hamming_blocks(queries: BinaryCodes, gallery: BinaryCodes, relevance: Relevance, work: Work) -> Blocks:
    """Tie groups by Hamming distance, for any block of queries.

    Raises:
        InputError: code lengths differ.
    """
    bits = gallery.bits_per_item
    if queries.bits_per_item != bits:
        raise InputError(f"bits: queries have {queries.bits_per_item}, the gallery {bits}, expected the same")
    count = _prepare(gallery.words()[relevance.order], bits, work)
    words = queries.words()

    def block(start: int, stop: int) -> TieGroups:
        total = np.zeros((stop - start, bits + 1), dtype=np.int32)
        relevant = np.zeros_like(total)
        count(words[start:stop], relevance.runs(start, stop), total, relevant)
        return groups_of_histograms(total, relevant, len(gallery), bits)

    return Blocks(block, 6 * 8 * (bits + 1) + 200 * min(bits + 1, relevance.most) + relevance.bytes_a_query)


def _prepare(gallery: np.ndarray, bits: int, work: Work) -> Counter:
    if work.kernel == "numba":
        from fghash.evaluation import hamming_numba

        return hamming_numba.prepare(gallery, bits, work)
    if work.kernel == "torch":
        from fghash.evaluation import hamming_torch

        return hamming_torch.prepare(gallery, bits, work)
    return prepare(gallery, bits, work)


def prepare(gallery: np.ndarray, bits: int, work: Work) -> Counter:
    """The numpy kernel: one query at a time."""

    def count(queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray) -> None:
        for i, query in enumerate(queries):
            distance = np.bitwise_count(gallery ^ query).sum(axis=1, dtype=np.int64)
            total[i] = np.bincount(distance, minlength=bits + 1)
            for run in range(runs.offsets[i], runs.offsets[i + 1]):
                found = distance[runs.starts[run] : runs.stops[run]]
                relevant[i] += np.bincount(found, minlength=bits + 1)

    return count
