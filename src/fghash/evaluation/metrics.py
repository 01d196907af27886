"""Scores of each query from its tie groups, in closed form. Pure functions of :class:`TieGroups`.

Notation of the formulas, per group: n items, r of them relevant, N items and R relevant items closer than it,
t = min(n, max(0, k - N)) of its places visible above the cutoff k, H the harmonic numbers. A group in which
no item is relevant adds nothing to average precision. The forms below equal the mean, maximum and minimum
over all orders of the tied items (the tests enumerate them); the expected one is that of McSherry and
Najork (ECIR 2008), cut at k.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from fghash.evaluation.conventions import Divisor
from fghash.evaluation.ranking import TieGroups

Ties = Literal["expected", "best", "worst"]


def average_precision(
    groups: TieGroups, k: int | None = None, ties: Ties = "expected", divisor: Divisor = "min"
) -> np.ndarray:
    """AP@k of each query (q,), NaN without a relevant item; k None: over the whole gallery.

    ``divisor``: ``min`` (min(k, relevant items)), ``relevant`` (all of them) or ``hits`` (those in the
    first k).
    """
    k = groups.n_gallery if k is None else min(k, groups.n_gallery)
    total = groups.n_relevant
    seen = groups.where((groups.relevant > 0) & (groups.nearer < k))
    if divisor == "hits":
        return np.where(total > 0, _average_over_hits(seen, k, ties), np.nan)
    sums = seen.sum_by_query(_precision_sums(seen, k, ties))
    return _divide(sums, total if divisor == "relevant" else np.minimum(total, k))


def precision_and_recall_at(groups: TieGroups, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected precision@k and recall@k of each query (q,): hits by k always, and by the relevant items."""
    hits, total = hits_at(groups, k), groups.n_relevant
    return np.where(total > 0, hits / k, np.nan), _divide(hits, total)


def hits_at(groups: TieGroups, k: int) -> np.ndarray:
    """Expected number of relevant items among the first k, of each query (q,)."""
    k = min(k, groups.n_gallery)
    seen = groups.where((groups.relevant > 0) & (groups.nearer < k))
    return seen.sum_by_query(seen.relevant * (np.minimum(k - seen.nearer, seen.size) / seen.size))


def precision_within_radius(groups: TieGroups, radius: int) -> np.ndarray:
    """Precision among the items within a Hamming radius, of each query (q,); 0 where nothing lies within.

    Only for codes that have a Hamming distance.
    """
    assert groups.distance is not None
    within = groups.where(groups.distance <= radius)
    found, hits = within.sum_by_query(within.size), within.sum_by_query(within.relevant)
    return np.where(groups.n_relevant > 0, hits / np.maximum(found, 1), np.nan)


def _average_over_hits(groups: TieGroups, k: int, ties: Ties) -> np.ndarray:
    """AP@k over the hits in the first k; 0 without hits. Their number varies with the group that k cuts."""
    whole = groups.where(groups.nearer.astype(np.int64) + groups.size <= k)
    sums, hits = whole.sum_by_query(_precision_sums(whole, k, ties)), whole.n_relevant
    averages = sums / np.maximum(hits, 1)
    cut = groups.where(groups.nearer.astype(np.int64) + groups.size > k)
    for query, n, r, nearer in zip(cut.query, cut.size, cut.relevant, cut.nearer, strict=True):
        found, weights = _hits_of_draw(int(n), int(r), int(k - nearer))
        places = np.full(len(found), float(k - nearer))
        start, before = np.full(len(found), float(nearer)), np.full(len(found), float(hits[query]))
        added = _FORMS[ties](places, found, start, before, places)
        values = (sums[query] + added) / np.maximum(before + found, 1)
        averages[query] = {"expected": weights @ values, "best": values.max(), "worst": values.min()}[ties]
    return np.asarray(np.clip(averages, 0.0, 1.0))


def _hits_of_draw(n: int, r: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Possible numbers of relevant items among t of n, r of them relevant, and their probabilities."""
    h = np.arange(max(0, t - (n - r)), min(r, t) + 1, dtype=np.float64)
    ratios = (r - h[:-1]) * (t - h[:-1]) / ((h[:-1] + 1) * (n - r - t + h[:-1] + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    weights = np.exp(logs - logs.max())
    return h, weights / weights.sum()


def _precision_sums(groups: TieGroups, k: int, ties: Ties) -> np.ndarray:
    """Sum over the hits of each group of the precision at their ranks; every group holds a relevant item."""
    n, r, nearer, before = groups.columns
    visible = n if k >= groups.n_gallery else np.minimum(k - nearer, n)
    return np.asarray(_FORMS[ties](n, r, nearer, before, visible))


def _expected(
    n: np.ndarray, r: np.ndarray, nearer: np.ndarray, before: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """r/n * ((R+1) h + (r-1)/(n-1) (t - (N+1) h)) with h = H[N+t] - H[N]."""
    h = harmonic_gap(nearer, t)
    among = (r - 1) / np.maximum(n - 1, 1)
    return np.asarray(r / n * ((before + 1) * h + among * (t - (nearer + 1) * h)))


def _best(n: np.ndarray, r: np.ndarray, nearer: np.ndarray, before: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Relevant items first: j - (N-R) (H[N+j] - H[N]) with j = min(r, t)."""
    j = np.minimum(r, t)
    return np.asarray(j - (nearer - before) * harmonic_gap(nearer, j))


def _worst(n: np.ndarray, r: np.ndarray, nearer: np.ndarray, before: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Relevant items last: j - (N+a-R) (H[N+a+j] - H[N+a]) with a = n - r and j of them visible."""
    a = n - r
    j, start = np.maximum(t - a, 0), nearer + a
    return np.asarray(j - (start - before) * harmonic_gap(start, j))


_FORMS = {"expected": _expected, "best": _best, "worst": _worst}

_FEW = 64
_TABLE = 1 << 20  # the largest rank that is looked up; beyond, a table would cost more than it saves


def harmonic_gap(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """1/(start+1) + ... + 1/(start+length), for whole numbers >= 0, to about 1e-15 (of 1, or of its value).

    >>> harmonic_gap(np.array([0, 10**9]), np.array([2, 1])).tolist()
    [1.5, 9.99999999e-10]
    """
    end = start + length
    largest = int(end.max()) if end.size else 0
    if largest <= _TABLE:
        table = _harmonic_numbers(1 << largest.bit_length())
        return np.asarray(table.take(end.astype(np.intp)) - table.take(start.astype(np.intp)))
    near, far = np.maximum(start, float(_FEW)), np.maximum(end, float(_FEW))
    low, middle = (np.minimum(edge, _FEW).astype(np.intp) for edge in (start, end))
    few = _harmonic_numbers(_FEW)
    return np.asarray(few[middle] - few[low] + np.log1p((far - near) / near) + (_tail(far) - _tail(near)))


@lru_cache
def _harmonic_numbers(n: int) -> np.ndarray:
    """H of 0 to n: sums up to 64, Euler-Maclaurin beyond."""
    few = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, min(n, _FEW) + 1))])
    x = np.arange(_FEW + 1, n + 1, dtype=np.float64)
    return np.concatenate([few, np.log(x) + (np.euler_gamma + _tail(x))])


def _tail(x: np.ndarray) -> np.ndarray:
    """H(x) less log(x) and Euler's constant: 1/2x - 1/12x^2 + 1/120x^4 - 1/252x^6, exact from 64 on."""
    inverse = 1.0 / x
    square = inverse * inverse
    return np.asarray(inverse * 0.5 - square * (1 / 12 - square * (1 / 120 - square * (1 / 252))))


def _divide(sums: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Quotients clipped to [0, 1]; NaN where the divisor is 0."""
    quotients = np.clip(sums / np.maximum(divisor, 1), 0.0, 1.0)
    return np.where(divisor > 0, quotients, np.nan)
