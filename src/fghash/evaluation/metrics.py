"""Scores of each query from its tie groups, in closed form. Pure functions of :class:`TieGroups`.

Notation of the formulas, per group: n items, r of them relevant, N items and R relevant items nearer than it,
t = min(n, max(0, k - N)) of its places visible above the cutoff k, H the harmonic numbers. A group in which
no item is relevant adds nothing to average precision. The forms below equal the mean, maximum and minimum
over all orders of the tied items (the tests enumerate them); the expected one is that of McSherry and
Najork (ECIR 2008), cut at k.
"""

from __future__ import annotations

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
    k = groups.n_gallery if k is None else k
    seen = groups.where((groups.relevant > 0) & (groups.nearer < k))
    if divisor == "hits":
        return np.where(groups.n_relevant > 0, _average_over_hits(seen, k, ties), np.nan)
    sums = _sum_by_query(seen, _precision_sums(seen, k, ties))
    return _divide(sums, groups.n_relevant if divisor == "relevant" else np.minimum(groups.n_relevant, k))


def precision_at(groups: TieGroups, k: int) -> np.ndarray:
    """Expected precision@k of each query (q,): relevant items among the first k, divided by k always."""
    return np.where(groups.n_relevant > 0, hits_at(groups, k) / k, np.nan)


def recall_at(groups: TieGroups, k: int) -> np.ndarray:
    """Expected recall@k of each query (q,): relevant items among the first k, divided by all of them."""
    return _divide(hits_at(groups, k), groups.n_relevant)


def hits_at(groups: TieGroups, k: int) -> np.ndarray:
    """Expected number of relevant items among the first k, of each query (q,)."""
    visible = np.clip(k - groups.nearer.astype(np.int64), 0, groups.size)
    return _sum_by_query(groups, groups.relevant * (visible / groups.size))


def precision_within_radius(groups: TieGroups, radius: int) -> np.ndarray:
    """Precision among the items within a Hamming radius, of each query (q,); 0 where nothing lies within.

    Only for codes that have a Hamming distance.
    """
    assert groups.distance is not None
    within = groups.distance <= radius
    found = _sum_by_query(groups, groups.size * within)
    hits = _sum_by_query(groups, groups.relevant * within)
    return np.where(groups.n_relevant > 0, hits / np.maximum(found, 1), np.nan)


def _average_over_hits(groups: TieGroups, k: int, ties: Ties) -> np.ndarray:
    """AP@k over the hits in the first k; 0 without hits. Their number varies with the group that k cuts."""
    whole = groups.where(groups.nearer.astype(np.int64) + groups.size <= k)
    sums, hits = _sum_by_query(whole, _precision_sums(whole, k, ties)), whole.n_relevant
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
    n, r, nearer = (part.astype(np.float64) for part in (groups.size, groups.relevant, groups.nearer))
    before = groups.relevant_nearer.astype(np.float64)
    visible = np.clip(k - nearer, 0, n)
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
    j = np.clip(t - (n - r), 0, r)
    start = nearer + n - r
    return np.asarray(j - (start - before) * harmonic_gap(start, j))


_FORMS = {"expected": _expected, "best": _best, "worst": _worst}

_FEW = 64
_SMALL = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, _FEW + 1))])
_SERIES = ((1, 1 / 2), (2, -1 / 12), (4, 1 / 120), (6, -1 / 252))


def harmonic_gap(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """1/(start+1) + ... + 1/(start+length), to about 1e-15 of its value, for whole numbers >= 0.

    By table up to 64 and by Euler-Maclaurin beyond, subtracted term by term so that nothing cancels.

    >>> harmonic_gap(np.array([0, 10**9]), np.array([2, 1])).tolist()
    [1.5, 9.99999999e-10]
    """
    start, end = start.astype(np.float64), (start + length).astype(np.float64)
    low, middle = (np.minimum(edge, _FEW).astype(np.int64) for edge in (start, end))
    near, far = np.maximum(start, _FEW), np.maximum(end, _FEW)
    gap = _SMALL[middle] - _SMALL[low] + np.log1p((far - near) / near)
    for power, weight in _SERIES:
        gap += weight * (far**-power - near**-power)
    return np.asarray(gap)


def _sum_by_query(groups: TieGroups, values: np.ndarray) -> np.ndarray:
    return np.bincount(groups.query, weights=values, minlength=len(groups))


def _divide(sums: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Quotients clipped to [0, 1]; NaN where the divisor is 0."""
    quotients = np.clip(sums / np.maximum(divisor, 1), 0.0, 1.0)
    return np.where(divisor > 0, quotients, np.nan)
