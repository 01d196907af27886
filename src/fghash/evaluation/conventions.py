"""What the evaluators of other code bases would print for the same codes, to read published numbers by.

They differ in the divisor of AP@k, in what a query without hits counts for, in whether the last item is
looked at, and they leave ties to an unstable sort. Here ties are in gallery order, the one rule that all
can be compared under.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Divisor = Literal["min", "hits", "relevant"]


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

    def average_precision(self, ranks: np.ndarray, k: int | None, n_gallery: int) -> float | None:
        """AP of one query from the ascending ``ranks`` (from 1) of its relevant items; None: left out."""
        if len(ranks) == 0:
            return {"zero": 0.0, "one": 1.0, "drop": None}[self.without_relevant]
        k = (n_gallery - self.drops_last) if k is None else k
        best = min(k, len(ranks))
        hits = ranks[:best] if self.divisor == "first hits" else ranks[ranks <= k]
        if len(hits) == 0:
            return 0.0 if self.without_hits == "zero" else None
        divisor = {"min": best, "relevant": len(ranks)}.get(self.divisor, len(hits))
        return float((np.arange(1, len(hits) + 1) / hits).sum() / divisor)

    def mean(self, ranks: Iterable[np.ndarray], k: int | None, n_gallery: int) -> float | None:
        """Mean over the queries that count; None if none does."""
        values = (self.average_precision(of_query, k, n_gallery) for of_query in ranks)
        counted = [value for value in values if value is not None]
        return float(np.mean(counted)) if counted else None


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
