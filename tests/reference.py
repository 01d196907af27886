"""Slow, obviously right references for the evaluator: every tie order is enumerated, in exact fractions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import permutations, product

import numpy as np


def is_relevant(a: np.ndarray, b: np.ndarray) -> bool:
    """Same class, or at least one class in common for multi-hot labels."""
    if np.ndim(a) == 0:
        return bool(a == b)
    return any(bool(x) and bool(y) for x, y in zip(a, b, strict=True))


def distinct_orders(relevant: Sequence[bool]) -> set[tuple[bool, ...]]:
    """All different orders of one tie group's relevances; each stands for equally many orders."""
    return set(permutations(relevant))


def rankings(distances: Sequence[float], relevant: Sequence[bool]) -> Iterator[list[bool]]:
    """Every ranking by distance, over all orders of tied items, each equally likely."""
    levels = sorted(set(distances))
    groups = [[r for d, r in zip(distances, relevant, strict=True) if d == level] for level in levels]
    for orders in product(*(sorted(distinct_orders(group)) for group in groups)):
        yield [hit for order in orders for hit in order]


def ap_of_ranking(ranking: Sequence[bool], k: int | None = None) -> Fraction:
    """Average precision at k of one ranking, divided by min(k, relevant)."""
    k = len(ranking) if k is None else k
    found, total = 0, Fraction(0)
    for rank, hit in enumerate(ranking[:k], start=1):
        found += hit
        total += Fraction(found, rank) if hit else 0
    return total / min(k, sum(ranking))


def over_ties(
    distances: Sequence[float], relevant: Sequence[bool], k: int | None = None
) -> dict[str, Fraction]:
    """Expected, best and worst AP@k over all tie orders."""
    values = [ap_of_ranking(ranking, k) for ranking in rankings(distances, relevant)]
    return {"expected": sum(values, Fraction(0)) / len(values), "best": max(values), "worst": min(values)}


def hits_over_ties(distances: Sequence[float], relevant: Sequence[bool], k: int) -> Fraction:
    """Expected number of relevant items among the first k, over all tie orders."""
    values = [Fraction(sum(ranking[:k])) for ranking in rankings(distances, relevant)]
    return sum(values, Fraction(0)) / len(values)


def hamming(a: np.ndarray, b: np.ndarray) -> int:
    """Number of differing bits, one by one."""
    return sum(bool(x) != bool(y) for x, y in zip(a, b, strict=True))
