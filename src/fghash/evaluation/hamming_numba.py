"""The compiled kernel of :mod:`fghash.evaluation.hamming`.

Codes of one word (up to 64 bits) are counted for two queries a and b at once, so that one increment serves
both. With x a code and y = x ^ a, let u be the number of ones of y where a and b differ, v where they agree:
the distance to a is u + v and that to b is |a ^ b| - u + v. One table over (u, v) holds both histograms.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, untyped-decorator"
from __future__ import annotations

from functools import partial

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from fghash.evaluation.compiled import compiled
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work

_BLOCK = 1 << 16  # codes of one word that stay in the second-level cache
_CHUNK = 64  # indices computed (in vectors) before they are counted (one by one)


def prepare(gallery: np.ndarray, bits: int, work: Work) -> partial[None]:
    """The counter of this gallery, of (g, words) uint64."""
    return partial(count, gallery)


def count(
    gallery: np.ndarray, queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items."""
    if gallery.shape[1] == 1:
        _count_narrow(queries[:, 0], gallery[:, 0], *runs, total, relevant)
    else:
        _count_wide(queries, gallery, *runs, total, relevant)


@intrinsic
def popcount(context, word):
    """Number of ones of an unsigned 64-bit word, by the processor's instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _count_narrow(queries, gallery, offsets, starts, stops, total, relevant):
    cells = np.empty(65 * 64, np.uint32)
    for start in range(0, len(gallery), _BLOCK):
        block = gallery[start : start + _BLOCK]
        for i in range(0, len(queries) - 1, 2):
            _pair(block, queries[i], queries[i + 1], cells, total[i], total[i + 1])
    if len(queries) % 2:
        _one(gallery, queries[-1], total[-1])
    for i in range(len(queries)):
        for run in range(offsets[i], offsets[i + 1]):
            _one(gallery[starts[run] : stops[run]], queries[i], relevant[i])


@compiled
def _one(codes, query, histogram):
    for code in codes:
        histogram[popcount(code ^ query)] += 1


@compiled
def _pair(codes, query, other, cells, histogram, other_histogram):
    differ = query ^ other
    n_differ = np.int64(popcount(differ))
    n_agree = len(histogram) - 1 - n_differ
    cells[: n_differ * 64 + 65] = 0  # v reaches 64 only where u is always 0
    _fill(codes, query, differ, cells)
    for u in range(n_differ + 1):
        for v in range(n_agree + 1):
            found = cells[u * 64 + v]
            histogram[u + v] += found
            other_histogram[n_differ - u + v] += found


@compiled
def _fill(codes, query, differ, cells):
    index = np.empty(_CHUNK, np.uint64)
    whole = len(codes) // _CHUNK * _CHUNK
    for start in range(0, whole, _CHUNK):
        chunk = codes[start : start + _CHUNK]
        for j in range(_CHUNK):
            y = chunk[j] ^ query
            index[j] = (popcount(y & differ) << np.uint64(6)) + popcount(y & ~differ)
        for j in range(_CHUNK):
            cells[index[j]] += np.uint32(1)
    for code in codes[whole:]:
        y = code ^ query
        cells[(popcount(y & differ) << np.uint64(6)) + popcount(y & ~differ)] += np.uint32(1)


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
