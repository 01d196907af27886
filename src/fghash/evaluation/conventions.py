"""What the evaluators of other code bases would print for the same codes, to read published numbers by.

They differ in the divisor of AP@k, in what a query without hits counts for, in whether the last item is
looked at, and they leave ties to an unstable sort. Here ties are in gallery order, the one rule that all
can be compared under.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Divisor = Literal["min", "hits", "relevant"]


@dataclass(frozen=True, eq=False)
class StableRanks:
    """The relevant items of all queries where ties stand in gallery order, query by query and nearest first.

    Of each: its ``query``, its ``place`` among the query's relevant items (from 1), its ``rank`` in the
    gallery (from 1).
    """

    query: np.ndarray
    place: np.ndarray
    rank: np.ndarray
    n_queries: int
    n_gallery: int

    @cached_property
    def n_relevant(self) -> np.ndarray:
        """Relevant items of each query."""
        return self.sum_by_query(np.ones(len(self.query)))

    def sum_by_query(self, values: np.ndarray) -> np.ndarray:
        """Sums (q,) of a value of each relevant item."""
        return np.bincount(self.query, weights=values, minlength=self.n_queries)


@dataclass(frozen=True)
class Convention:
    """One way to compute mean average precision from a ranking.

    ``divisor`` of AP@k: ``min`` (min(k, relevant items)), ``hits`` (relevant items among the first k),
    ``relevant`` (all relevant items), or ``first hits`` (the first min(k, relevant) hits at whatever rank,
    divided by their number). ``without_hits`` and ``without_relevant``: what a query counts for that finds
    nothing, or has nothing to find: ``zero``, ``one``, or ``drop`` (it is left out of the mean).
    ``drops_last``: without a cutoff the farthest item is not looked at. ``has_cutoff``: the code base
    computes AP@k at all.
    """

    source: str
    divisor: Divisor | Literal["first hits"] = "hits"
    without_hits: Literal["zero", "drop"] = "zero"
    without_relevant: Literal["zero", "drop", "one"] = "zero"
    drops_last: bool = False
    has_cutoff: bool = True

    @property
    def summary(self) -> str:
        """The convention in words."""
        parts = [f"divides by {DIVISORS[self.divisor]}", f"no hits: {self.without_hits}"]
        parts += (
            [f"no relevant: {self.without_relevant}"] if self.without_relevant != self.without_hits else []
        )
        parts += ["drops the last item"] if self.drops_last else []
        return ", ".join([*parts, "ties in gallery order"])

    def average_precision(self, ranking: StableRanks, k: int | None) -> np.ndarray:
        """AP at k (None: without a cutoff) of each query (q,) as this code base computes it; NaN where it
        leaves the query out, or has no AP at k.
        """
        if k is None:
            k = ranking.n_gallery - self.drops_last
        elif not self.has_cutoff:
            return np.full(ranking.n_queries, np.nan)
        total = ranking.n_relevant
        best = np.minimum(k, total)
        seen = ranking.place <= best[ranking.query] if self.divisor == "first hits" else ranking.rank <= k
        hits = ranking.sum_by_query(seen)
        divisor = {"min": best, "relevant": total}.get(self.divisor, hits)
        values = ranking.sum_by_query(seen * ranking.place / ranking.rank) / np.maximum(divisor, 1)
        values[total == 0] = self.without_relevant == "one"
        dropped = ((hits == 0) & (total > 0)) * (self.without_hits == "drop")
        dropped |= (total == 0) & (self.without_relevant == "drop")
        return np.where(dropped, np.nan, values)


DIVISORS = {
    "min": "min(k, relevant)",
    "hits": "the hits in the top k",
    "relevant": "all relevant",
    "first hits": "the first min(k, relevant) hits at any rank",
}

OWN: dict[str, Divisor] = {"fghash": "min", "fghash-hits": "hits", "fghash-relevant": "relevant"}
"""Our own, exact over ties, and its divisor; queries without a relevant item are left out."""

CONVENTIONS: dict[str, Convention] = {
    "fghash-stable": Convention("this one's, ties apart", "min", "zero", "drop"),
    "deephash-pytorch": Convention("swuxyj/DeepHash-pytorch utils/tools.py", drops_last=True),
    "semicon": Convention("aassxun/SEMICON, DSH_Analysis, QueryOpt: utils/evaluate.py", drops_last=True),
    "fish": Convention("chenzhenduo/FISH utils.py; FG-CNET utils/evaluate.py", "first hits"),
    "hashnet": Convention("thuml/HashNet pytorch/src/test.py", "hits", "drop", "drop"),
    "deephash": Convention("thulab/DeepHash evaluation", "hits", "drop", "drop"),
    "orthohash": Convention("kamwoh/orthohash functions/hashing.py"),
    "fire": Convention("CISiPLab/cisip-FIRe functions/metrics.py"),
    "dpq": Convention("cfm-uestc/DPQ Utils.py"),
    "mecoq": Convention("gimpong/AAAI22-MeCoQ utils.py"),
    "paddleclas": Convention("PaddlePaddle/PaddleClas metrics", "hits", "drop", "drop", has_cutoff=False),
    "oml": Convention("OML-Team/open-metric-learning functional/metrics.py", "hits", "zero", "one"),
    "pml": Convention("pytorch-metric-learning AccuracyCalculator", "relevant", "zero", "drop"),
    "mmpretrain": Convention("open-mmlab/mmpretrain retrieval.py, mode IR", "relevant", "zero", "drop"),
    "torchmetrics": Convention("torchmetrics retrieval_average_precision, positive scores"),
}
"""By name; each is tested against a loop written from its description."""
