"""The compiled kernel of :mod:`fghash.evaluation.hamming`.

Codes of one word (up to 64 bits) are counted for two queries a and b at once, so that one increment serves
both. With x a code and y = x ^ a, let d be the number of ones of y, and u the number of them where a and b
differ: the distance to a is d, and to b it is |a ^ b| + d - 2u. One table over (u, d) holds both histograms.
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
_CHUNK = 32  # indices computed at a time
_SPARE = 64 * 64 + 64 + 1  # the cell after the last: it stands for nothing


def prepare(gallery: np.ndarray, bits: int, work: Work) -> partial[None]:
    """The counter of this gallery, of (g, words) uint64."""
    return partial(count, gallery)


def count(
    gallery: np.ndarray, queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items."""
    if gallery.shape[1] == 1:
        cells, indices = _aligned(_SPARE + 1, np.uint32), _aligned(2 * _CHUNK, np.uint64)
        _count_narrow(queries.reshape(-1), gallery.reshape(-1), *runs, total, relevant, cells, indices)
    else:
        _count_wide(queries, gallery, *runs, total, relevant)


def _aligned(length: int, dtype: type) -> np.ndarray:
    """Zeros that begin at a cache line, which spares vector instructions from straddling two."""
    size = length * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype)


@intrinsic
def popcount(context, word):
    """Number of ones of an unsigned 64-bit word, by the processor's instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _count_narrow(queries, gallery, offsets, starts, stops, total, relevant, cells, indices):
    for start in range(0, len(gallery), _BLOCK):
        block = gallery[start : start + _BLOCK]
        for i in range(0, len(queries) - 1, 2):
            differ = queries[i] ^ queries[i + 1]
            _fill(block, queries[i], differ, cells, indices)
            _fold(cells, np.int64(popcount(differ)), total[i], total[i + 1])
    if len(queries) % 2:
        _one(gallery, queries[-1], total[-1])
    for i in range(len(queries)):
        for run in range(offsets[i], offsets[i + 1]):
            _one(gallery[starts[run] : stops[run]], queries[i], relevant[i])


@compiled
def _one(codes, query, histogram):
    for j in range(len(codes)):
        histogram[popcount(codes[j] ^ query)] += 1


@compiled
def _fill(codes, query, differ, cells, indices):
    """Count in cell 64 u + d. Indices come from vector instructions, one chunk ahead of the counting."""
    even, odd = indices[:_CHUNK], indices[_CHUNK:]
    odd[:] = _SPARE
    first = np.uint64(0)
    for _ in range(len(codes) // (2 * _CHUNK)):
        for j in range(_CHUNK):
            y = codes[first + np.uint64(j)] ^ query
            even[j] = (popcount(y & differ) << np.uint64(6)) + popcount(y)
        for j in range(_CHUNK):
            cells[odd[j]] += np.uint32(1)
        first += np.uint64(_CHUNK)
        for j in range(_CHUNK):
            y = codes[first + np.uint64(j)] ^ query
            odd[j] = (popcount(y & differ) << np.uint64(6)) + popcount(y)
        for j in range(_CHUNK):
            cells[even[j]] += np.uint32(1)
        first += np.uint64(_CHUNK)
    for j in range(_CHUNK):
        cells[odd[j]] += np.uint32(1)
    for j in range(first, np.uint64(len(codes))):
        y = codes[j] ^ query
        cells[(popcount(y & differ) << np.uint64(6)) + popcount(y)] += np.uint32(1)


@compiled
def _fold(cells, n_differ, histogram, other):
    """Add the cells, for each u a row over d, to the histograms of both queries, and empty them."""
    bits = len(histogram) - 1
    length = bits - n_differ + 1
    near, far = np.zeros(bits + 1, np.uint32), np.zeros(bits + 1, np.uint32)
    for u in range(n_differ + 1):
        row = cells[65 * u : 65 * u + length]
        to_near, to_far = near[u : u + length], far[n_differ - u : n_differ - u + length]
        for d in range(length):
            to_near[d] += row[d]
        for d in range(length):
            to_far[d] += row[d]
        for d in range(length):
            row[d] = 0
    for d in range(bits + 1):
        histogram[d] += near[d]
        other[d] += far[d]


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
