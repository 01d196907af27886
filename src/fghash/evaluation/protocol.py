"""The conventions of a score, as one versioned value.

* AP@k divides by min(k, relevant items of the gallery); the mean is over queries with at least one relevant
  item, the others are counted separately; precision@k divides by k always; recall@k by the relevant items.
* Ties: expected value over all orders of items at equal distance; beside ``map`` stand the best and worst
  order.
* A query with nothing within the radius has precision 0 there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from fghash.errors import InputError
from fghash.evaluation.conventions import CONVENTIONS, OWN
from fghash.registry import nearest

_MOST = 10**15  # floats hold every whole number up to there


@dataclass(frozen=True)
class RetrievalProtocol:
    """What the scores of one row mean; rows of different protocols are never mixed.

    ``cutoffs``: the k of every score "at k". ``radius``: of precision within a Hamming radius.
    ``convention``: ``fghash``, its variants by divisor (``fghash-hits``, ``fghash-relevant``), or another
    code base's (:data:`fghash.evaluation.conventions.CONVENTIONS`), which then gives ``map`` and
    ``map_at_k`` alone.

    Raises:
        InputError: a cutoff below 1, given twice, or none; an unknown convention.

    >>> RetrievalProtocol(cutoffs=(1, 10)).name
    'fghash-1@1,10'
    """

    version: int = 1
    cutoffs: tuple[int, ...] = (1, 10, 100)
    radius: int = 2
    convention: str = "fghash"

    def __post_init__(self) -> None:
        cutoffs = tuple(self.cutoffs) if isinstance(self.cutoffs, Iterable) else (self.cutoffs,)
        for k in cutoffs:
            if not _is_whole(k) or not 1 <= k <= _MOST:
                raise InputError(f"cutoffs: {k}, expected integers from 1 to 10^15")
        if not cutoffs or len(set(cutoffs)) < len(cutoffs):
            raise InputError(f"cutoffs: {list(cutoffs)}, expected one or more different integers")
        if self.version != 1:
            raise InputError(f"version: {self.version}, expected 1")
        if not _is_whole(self.radius) or not 0 <= self.radius <= _MOST:
            raise InputError(f"radius: {self.radius}, expected an integer of 0 or more")
        known = [*OWN, *CONVENTIONS]
        if self.convention not in known:
            hint = nearest(self.convention, known)
            raise InputError(f"convention: '{self.convention}', expected one of {', '.join(known)}{hint}")
        object.__setattr__(self, "cutoffs", tuple(sorted(int(k) for k in cutoffs)))
        object.__setattr__(self, "radius", int(self.radius))

    @property
    def name(self) -> str:
        """Distinct for every protocol: ``<convention>-<version>@<cutoffs>``, and the radius if not 2."""
        radius = "" if self.radius == 2 else f",r{self.radius}"
        return f"{self.convention}-{self.version}@{','.join(map(str, self.cutoffs))}{radius}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and value % 1 == 0
