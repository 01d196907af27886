"""The compiled kernel of :mod:`fghash.evaluation.hamming`."""

from __future__ import annotations

import numpy as np

from fghash.evaluation.compiled import compiled, popcount
from fghash.evaluation.relevance import Runs


def count(
    queries: np.ndarray, gallery: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray
) -> None:
    """Fill the histograms (queries, bits + 1) of all and of the relevant items, from uint64 words."""
    _count(queries, gallery, runs.offsets, runs.starts, runs.stops, total, relevant)


@compiled
def _count(queries, gallery, offsets, starts, stops, total, relevant):  # type: ignore[no-untyped-def]
    for i in range(len(queries)):
        _histogram(queries[i], gallery, total[i])
        for run in range(offsets[i], offsets[i + 1]):
            _histogram(queries[i], gallery[starts[run] : stops[run]], relevant[i])


@compiled
def _histogram(query, gallery, histogram):  # type: ignore[no-untyped-def]
    for j in range(len(gallery)):
        distance = 0
        for w in range(len(query)):
            distance += popcount(query[w] ^ gallery[j, w])  # type: ignore[call-arg]
        histogram[distance] += 1
