"""The numpy kernel of tie groups of binary codes, and what every such kernel gives.

A kernel is a module with ``prepare(gallery_words, bits, work)``, which gives a function that fills the
histograms (queries, bits + 1) of all and of the relevant items for some queries. All give the same counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work

Counter = Callable[[np.ndarray, Runs, np.ndarray, np.ndarray], None]


def prepare(gallery: np.ndarray, bits: int, work: Work) -> Counter:
    """The numpy kernel: one query at a time."""

    def count(queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray) -> None:
        for i, query in enumerate(queries):
            distance = np.bitwise_count(gallery ^ query).sum(axis=1, dtype=np.int64)
            total[i] = np.bincount(distance, minlength=bits + 1)
            for run in range(runs.offsets[i], runs.offsets[i + 1]):
                found = distance[runs.starts[run] : runs.stops[run]]
                relevant[i] += np.bincount(found, minlength=bits + 1)

    return count
