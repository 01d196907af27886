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
from fghash.evaluation.kernels import group_sums
from fghash.evaluation.kernels.group_sums import FEW
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
    if divisor == "hits":
        return np.where(total > 0, _average_over_hits(groups, k, ties), np.nan)
    return _divide(_precision_sums(groups, k, ties), total if divisor == "relevant" else np.minimum(total, k))


def average_precisions(groups: TieGroups, divisor: Divisor = "min") -> dict[Ties, np.ndarray]:
    """AP over the whole gallery, as :func:`average_precision`, for each order of the ties."""
    if divisor == "hits":
        return {ties: average_precision(groups, ties=ties, divisor=divisor) for ties in _CODES}
    sums = {ties: np.zeros(len(groups)) for ties in _CODES}
    columns = (groups.offsets, groups.nearer, groups.size, groups.relevant)
    group_sums.precision_sums_by_order(*columns, _harmonic_table(groups.n_gallery), *sums.values())
    return {ties: _divide(found, groups.n_relevant) for ties, found in sums.items()}


def precision_and_recall_at(groups: TieGroups, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected precision@k and recall@k of each query (q,): hits by k always, and by the relevant items."""
    hits, total = hits_at(groups, k), groups.n_relevant
    return np.where(total > 0, hits / k, np.nan), _divide(hits, total)


def hits_at(groups: TieGroups, k: int) -> np.ndarray:
    """Expected number of relevant items among the first k, of each query (q,)."""
    hits = np.zeros(len(groups))
    k = min(k, groups.n_gallery)
    group_sums.expected_hits(groups.offsets, groups.nearer, groups.size, groups.relevant, k, hits)
    return hits


def precision_within_radius(groups: TieGroups, radius: int) -> np.ndarray:
    """Precision among the items within a Hamming radius, of each query (q,); 0 where nothing lies within.

    Only for codes that have a Hamming distance.
    """
    assert groups.distance is not None
    found, hits = np.zeros(len(groups)), np.zeros(len(groups))
    columns = (groups.offsets, groups.size, groups.relevant, groups.distance)
    group_sums.within_radius(*columns, radius, found, hits)
    return np.where(groups.n_relevant > 0, hits / np.maximum(found, 1), np.nan)


def _average_over_hits(groups: TieGroups, k: int, ties: Ties) -> np.ndarray:
    """AP@k over the hits in the first k; 0 without hits. Their number varies with the group that k cuts."""
    ranked = groups.where((groups.relevant > 0) & (groups.nearer < k))
    whole = ranked.where(ranked.nearer.astype(np.int64) + ranked.size <= k)
    sums, hits = _precision_sums(whole, k, ties), whole.n_relevant
    averages = sums / np.maximum(hits, 1)
    cut = ranked.where(ranked.nearer.astype(np.int64) + ranked.size > k)
    table = _harmonic_table(groups.n_gallery)
    for query, n, r, nearer in zip(cut.query, cut.size, cut.relevant, cut.nearer, strict=True):
        found, weights = _hits_of_draw(int(n), int(r), int(k - nearer))
        before, t = int(hits[query]), int(k - nearer)
        added = [
            group_sums.precision_sum(_CODES[ties], t, int(h), int(nearer), before, t, table) if h else 0.0
            for h in found
        ]
        values = (sums[query] + np.array(added)) / np.maximum(before + found, 1)
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
    """Sum over the hits of each query of the precision at their ranks."""
    sums = np.zeros(len(groups))
    columns = (groups.offsets, groups.nearer, groups.size, groups.relevant)
    group_sums.precision_sums(*columns, k, _CODES[ties], _harmonic_table(groups.n_gallery), sums)
    return sums


_CODES: dict[Ties, int] = {
    "expected": group_sums.EXPECTED,
    "best": group_sums.BEST,
    "worst": group_sums.WORST,
}
_TABLE = 1 << 20  # the largest rank that is looked up; beyond, a table would cost more than it saves


def harmonic_gap(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """1/(start+1) + ... + 1/(start+length), for whole numbers >= 0, to about 1e-15 (of 1, or of its value).

    >>> harmonic_gap(np.array([0, 10**9]), np.array([2, 1])).tolist()
    [1.5, 9.99999999e-10]
    """
    start, length = np.asarray(start, np.int64), np.asarray(length, np.int64)
    out = np.zeros(len(start))
    largest = int((start + length).max()) if len(start) else 0
    group_sums.gaps(start, length, _harmonic_table(largest), out)
    return out


def _harmonic_table(largest: int) -> np.ndarray:
    """Harmonic numbers of 0 to at least ``largest``; of few ranks where that would be too many."""
    return _harmonic_numbers(max(FEW, 1 << largest.bit_length()) if largest <= _TABLE else FEW)


@lru_cache
def _harmonic_numbers(n: int) -> np.ndarray:
    """H of 0 to n: sums up to 64, Euler-Maclaurin beyond."""
    few = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, min(n, FEW) + 1))])
    x = np.arange(FEW + 1, n + 1, dtype=np.float64)
    return np.concatenate([few, np.log(x) + (np.euler_gamma + group_sums.tail(x))])


def _divide(sums: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Quotients clipped to [0, 1]; NaN where the divisor is 0."""
    quotients = np.clip(sums / np.maximum(divisor, 1), 0.0, 1.0)
    return np.where(divisor > 0, quotients, np.nan)
