"""The compiled kernel of :mod:`fghash.evaluation.hamming`.

Codes of one word (up to 64 bits) are counted by :mod:`fghash.evaluation.hamming_sliced`, longer ones pair by
pair. The relevant items, few and contiguous, are always counted pair by pair.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, untyped-decorator"
from __future__ import annotations

from functools import partial

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from fghash.evaluation.compiled import compiled
from fghash.evaluation.hamming_sliced import Slices, count_slices, slices
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work


def prepare(gallery: np.ndarray, bits: int, work: Work) -> partial[None]:
    """The counter of this gallery, of (g, words) uint64."""
    if gallery.shape[1] == 1:
        return partial(count_narrow, gallery[:, 0], slices(gallery[:, 0]))
    return partial(count_wide, gallery)


def count_narrow(
    gallery: np.ndarray,
    sliced: Slices,
    queries: np.ndarray,
    runs: Runs,
    total: np.ndarray,
    relevant: np.ndarray,
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items, codes of one word."""
    count_slices(queries[:, 0], sliced, total)
    _count_runs(queries[:, 0], gallery, *runs, relevant)


@intrinsic
def popcount(context, word):
    """Number of ones of an unsigned 64-bit word, by the processor's instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _count_runs(queries, gallery, offsets, starts, stops, relevant):
    for i in range(len(queries)):
        for run in range(offsets[i], offsets[i + 1]):
            for j in range(starts[run], stops[run]):
                relevant[i, popcount(gallery[j] ^ queries[i])] += 1


def count_wide(
    gallery: np.ndarray, queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items, codes of several words."""
    _count_wide(queries, gallery, *runs, total, relevant)


@compiled
def _count_wide(queries, gallery, offsets, starts, stops, total, relevant):
    for i in range(len(queries)):
        _histogram(gallery, queries[i], total[i])
        for run in range(offsets[i], offsets[i + 1]):
            _histogram(gallery[starts[run] : stops[run]], queries[i], relevant[i])


@compiled
def _histogram(codes, query, histogram):
    for code in codes:
        distance = np.uint64(0)
        for w in range(len(query)):
            distance += popcount(code[w] ^ query[w])
        histogram[distance] += 1
