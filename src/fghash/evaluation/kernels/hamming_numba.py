"""The compiled kernel of :mod:`fghash.evaluation.kernels.hamming`.

All items are counted by :mod:`hamming_sliced` where the codes are short enough, and pair by
pair where they are not; the relevant items, few and contiguous, always pair by pair.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, untyped-decorator"
from __future__ import annotations

from functools import partial

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from fghash.compiled import compiled
from fghash.evaluation.kernels.hamming_sliced import MOST_WORDS, Slices, count_slices, slices
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work


def prepare(gallery: np.ndarray, bits: int, work: Work) -> partial[None]:
    """The counter of this gallery, of (g, words) uint64."""
    return partial(count, gallery, slices(gallery, work) if gallery.shape[1] <= MOST_WORDS else None)


def count(
    gallery: np.ndarray,
    sliced: Slices | None,
    queries: np.ndarray,
    runs: Runs,
    total: np.ndarray,
    relevant: np.ndarray,
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items."""
    if sliced is None:
        _count_all(queries, gallery, total)
    else:
        count_slices(queries, sliced, total)
    if gallery.shape[1] == 1:
        _count_runs_of_words(queries[:, 0], gallery[:, 0], *runs, relevant)
    else:
        _count_runs(queries, gallery, *runs, relevant)


@intrinsic
def popcount(context, word):
    """Number of ones of an unsigned 64-bit word, by the processor's instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _count_all(queries, gallery, total):
    for i in range(len(queries)):
        _histogram(gallery, queries[i], total[i])


@compiled
def _count_runs(queries, gallery, offsets, starts, stops, relevant):
    for i in range(len(queries)):
        for run in range(offsets[i], offsets[i + 1]):
            _histogram(gallery[starts[run] : stops[run]], queries[i], relevant[i])


@compiled
def _count_runs_of_words(queries, gallery, offsets, starts, stops, relevant):
    for i in range(len(queries)):
        for run in range(offsets[i], offsets[i + 1]):
            for j in range(starts[run], stops[run]):
                relevant[i, popcount(gallery[j] ^ queries[i])] += 1


@compiled
def _histogram(codes, query, histogram):
    for code in codes:
        distance = np.uint64(0)
        for w in range(len(query)):
            distance += popcount(code[w] ^ query[w])
        histogram[distance] += 1
