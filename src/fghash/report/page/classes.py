"""Which classes a row finds, and which it takes for one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from fghash.codes import Codes
from fghash.evaluation.neighbours import nearest

_TOP, _PAIRS, _QUERIES = 10, 12, 1_000


def by_class(precision: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Mean average precision of the queries of each class; ``precision`` and ``labels`` (q,)."""
    return {int(each): float(precision[labels == each].mean()) for each in np.unique(labels)}


def confused_pairs(
    queries: Codes, gallery: Codes, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> list[dict[str, Any]]:
    """The pairs of classes that are taken for one another most, among the first ten items of each query.

    Returns:
        ``query`` and ``found``, two classes, and ``share``: of the first ten items of the queries of class
        ``query``, the part that is of class ``found``. Of at most 1,000 queries, evenly drawn.
    """
    chosen = np.unique(np.linspace(0, len(queries) - 1, min(_QUERIES, len(queries))).astype(np.int64))
    items, _ = nearest(queries.take(chosen), gallery, min(_TOP, len(gallery)))
    of_query, found = query_labels[chosen], gallery_labels[items]
    n_classes = int(max(gallery_labels.max(), query_labels.max())) + 1
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (np.repeat(of_query, items.shape[1]), found.reshape(-1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")[:_PAIRS]
    pairs = [np.unravel_index(int(each), shares.shape) for each in order]
    return [
        {"query": int(a), "found": int(b), "share": float(shares[a, b])} for a, b in pairs if shares[a, b] > 0
    ]
