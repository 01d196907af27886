"""Slow, obviously right references for the evaluator: every tie order is enumerated, in exact fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations, product

import numpy as np

Ranking = Sequence[bool]


def is_relevant(a: np.ndarray, b: np.ndarray) -> bool:
    """Same class, or at least one class in common for multi-hot labels."""
    if np.ndim(a) == 0:
        return bool(a == b)
    return any(bool(x) and bool(y) for x, y in zip(a, b, strict=True))


def hamming(a: np.ndarray, b: np.ndarray) -> int:
    """Number of differing bits, one by one."""
    return sum(bool(x) != bool(y) for x, y in zip(a, b, strict=True))


def orders(relevant: Ranking) -> list[list[bool]]:
    """The orders of tied items, told apart by where the relevant ones stand; each is equally likely."""
    n, r = len(relevant), sum(relevant)
    return [[place in chosen for place in range(n)] for chosen in combinations(range(n), r)]


def rankings(distances: Sequence[float], relevant: Ranking) -> Iterator[list[bool]]:
    """Every ranking by distance, over all orders of tied items, each equally likely."""
    levels = sorted(set(distances))
    groups = [[r for d, r in zip(distances, relevant, strict=True) if d == level] for level in levels]
    for chosen in product(*(orders(group) for group in groups)):
        yield [hit for order in chosen for hit in order]


def average_precision(ranking: Ranking, k: int | None = None, divisor: str = "min") -> Fraction:
    """AP at k of a ranking with a relevant item; divided by min(k, relevant), all relevant, or the hits."""
    k = len(ranking) if k is None else k
    found, total = 0, Fraction(0)
    for rank, hit in enumerate(ranking[:k], start=1):
        found += hit
        total += Fraction(found, rank) if hit else 0
    by = {"min": min(k, sum(ranking)), "relevant": sum(ranking), "hits": found}[divisor]
    return total / by if by else Fraction(0)


def precision(ranking: Ranking, k: int) -> Fraction:
    """Relevant items among the first k, divided by k even where the ranking is shorter."""
    return Fraction(sum(ranking[:k]), k)


def recall(ranking: Ranking, k: int) -> Fraction:
    """Relevant items among the first k, divided by all relevant items."""
    return Fraction(sum(ranking[:k]), sum(ranking))


def over_ties(score: Callable[[Ranking], Fraction], everything: Sequence[Ranking]) -> dict[str, Fraction]:
    """Expected, best and worst score over equally likely rankings."""
    values = [score(ranking) for ranking in everything]
    return {"expected": sum(values, Fraction(0)) / len(values), "best": max(values), "worst": min(values)}
