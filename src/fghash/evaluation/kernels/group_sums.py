"""Compiled loops over tie groups: what a query's scores are sums of, without the interpreter's lock.

The formulas of :mod:`fghash.evaluation.metrics`, one group at a time.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, assignment"
from __future__ import annotations

import math

import numpy as np

from fghash.compiled import compiled

EXPECTED, BEST, WORST = 0, 1, 2
FEW = 64  # ranks whose harmonic numbers are plain sums


@compiled
def tail(x):
    """H(x) less log(x) and Euler's constant: 1/2x - 1/12x^2 + 1/120x^4 - 1/252x^6, exact from 64 on."""
    inverse = 1.0 / x
    square = inverse * inverse
    return inverse * 0.5 - square * (1 / 12 - square * (1 / 120 - square * (1 / 252)))


@compiled
def gap(start, length, table):
    """1/(start+1) + ... + 1/(start+length), from the table of harmonic numbers as far as it goes."""
    end = start + length
    if end < len(table):
        return table[end] - table[start]
    low, middle = min(start, FEW), min(end, FEW)
    near, far = float(max(start, FEW)), float(max(end, FEW))
    return table[middle] - table[low] + math.log1p((far - near) / near) + (tail(far) - tail(near))


@compiled
def precision_sum(ties, n, r, nearer, before, t, table):
    """Sum over the hits of a group of the precision at their ranks.

    Of n items r are relevant, ``nearer`` items and ``before`` relevant ones are closer, and t of its places
    are visible. With N, R for ``nearer``, ``before`` and H for harmonic numbers:
    expected r/n ((R+1) h + (r-1)/(n-1) (t - (N+1) h)) with h = H[N+t] - H[N];
    best, the relevant items first, j - (N-R) (H[N+j] - H[N]) with j = min(r, t);
    worst, they last, j - (N+a-R) (H[N+a+j] - H[N+a]) with a = n - r and j of them visible.
    """
    if ties == EXPECTED:
        h = gap(nearer, t, table)
        among = (r - 1) / max(n - 1, 1)
        return r / n * ((before + 1) * h + among * (t - (nearer + 1) * h))
    if ties == BEST:
        j = min(r, t)
        return j - (nearer - before) * gap(nearer, j, table)
    a = n - r
    j, start = max(t - a, 0), nearer + a
    return j - (start - before) * gap(start, j, table)


@compiled
def precision_sums(offsets, nearer, size, relevant, k, ties, table, sums):
    """For each query the sum of :func:`precision_sum` over its groups that begin before rank k."""
    for i in range(len(sums)):
        total, before = 0.0, 0
        for g in range(offsets[i], offsets[i + 1]):
            if nearer[g] >= k:
                break
            r = np.int64(relevant[g])
            if r:
                n, closer = np.int64(size[g]), np.int64(nearer[g])
                total += precision_sum(ties, n, r, closer, before, min(k - closer, n), table)
                before += r
        sums[i] = total


@compiled
def precision_sums_by_order(offsets, nearer, size, relevant, table, expected, best, worst):
    """:func:`precision_sums` over the whole ranking, for the three orders of ties in one pass."""
    for i in range(len(expected)):
        before = 0
        for g in range(offsets[i], offsets[i + 1]):
            r = np.int64(relevant[g])
            if r:
                n, closer = np.int64(size[g]), np.int64(nearer[g])
                expected[i] += precision_sum(EXPECTED, n, r, closer, before, n, table)
                best[i] += precision_sum(BEST, n, r, closer, before, n, table)
                worst[i] += precision_sum(WORST, n, r, closer, before, n, table)
                before += r


@compiled
def expected_hits(offsets, nearer, size, relevant, k, hits):
    """For each query the expected number of relevant items among the first k."""
    for i in range(len(hits)):
        total = 0.0
        for g in range(offsets[i], offsets[i + 1]):
            if nearer[g] >= k:
                break
            if relevant[g]:
                total += relevant[g] * (min(k - np.int64(nearer[g]), np.int64(size[g])) / size[g])
        hits[i] = total


@compiled
def within_radius(offsets, size, relevant, distance, radius, found, hits):
    """For each query the items, and the relevant ones, within a distance."""
    for i in range(len(found)):
        for g in range(offsets[i], offsets[i + 1]):
            if distance[g] > radius:
                break
            found[i] += size[g]
            hits[i] += relevant[g]


@compiled
def relevant_of(offsets, relevant, total):
    """For each query the number of relevant items."""
    for i in range(len(total)):
        for g in range(offsets[i], offsets[i + 1]):
            total[i] += relevant[g]


@compiled
def gaps(start, length, table, out):
    """:func:`gap` of arrays of whole numbers."""
    for i in range(len(out)):
        out[i] = gap(start[i], length[i], table)


@compiled
def filled(total):
    """Number of cells above 0 in the rows so far, (rows + 1,)."""
    offsets = np.zeros(len(total) + 1, np.int64)
    for i in range(len(total)):
        n = 0
        for d in range(total.shape[1]):
            n += total[i, d] > 0
        offsets[i + 1] = offsets[i] + n
    return offsets


@compiled
def compress(total, relevant, offsets, nearer, size, found, distance):
    """The cells above 0 of histograms, row after row, with the items closer than each."""
    for i in range(len(total)):
        g, closer = offsets[i], 0
        for d in range(total.shape[1]):
            n = total[i, d]
            if n > 0:
                nearer[g], size[g], found[g], distance[g] = closer, n, relevant[i, d], d
                closer += n
                g += 1
