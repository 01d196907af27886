"""The conventions of a score, as one versioned value.

* AP@k divides by min(k, relevant items of the gallery); the mean is over queries with at least one relevant
  item, the others are counted apart; precision@k divides by k always; recall@k by the relevant items.
* Ties: expected value over all orders of items at equal distance; beside ``map`` stand the best and worst
  order.
* A query with nothing within the radius has precision 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass

from fghash.errors import InputError
from fghash.evaluation.conventions import CONVENTIONS, OWN
from fghash.registry import nearest


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
        cutoffs = tuple(self.cutoffs)
        for k in cutoffs:
            if isinstance(k, bool) or int(k) != k or k < 1:
                raise InputError(f"cutoffs: {k}, expected integers of 1 or more")
        if not cutoffs or len(set(cutoffs)) < len(cutoffs):
            raise InputError(f"cutoffs: {list(cutoffs)}, expected one or more different integers")
        if self.version != 1:
            raise InputError(f"version: {self.version}, expected 1")
        if self.radius < 0:
            raise InputError(f"radius: {self.radius}, expected 0 or more")
        known = [*OWN, *CONVENTIONS]
        if self.convention not in known:
            hint = nearest(self.convention, known)
            raise InputError(f"convention: '{self.convention}', expected one of {', '.join(known)}{hint}")
        object.__setattr__(self, "cutoffs", tuple(sorted(int(k) for k in cutoffs)))

    @property
    def name(self) -> str:
        """Distinct for every protocol: ``<convention>-<version>@<cutoffs>``, and the radius if not 2."""
        radius = "" if self.radius == 2 else f",r{self.radius}"
        return f"{self.convention}-{self.version}@{','.join(map(str, self.cutoffs))}{radius}"
