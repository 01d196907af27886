"""From tie groups to the named scores of a protocol."""

from __future__ import annotations

import numpy as np

from fghash.errors import InputError
from fghash.evaluation.conventions import OWN
from fghash.evaluation.metrics import (
    average_precision,
    average_precisions,
    precision_and_recall_at,
    precision_within_radius,
)
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.evaluation.ranking import TieGroups

Scores = dict[str, float | int | None]


def scores_from_groups(groups: TieGroups, protocol: RetrievalProtocol) -> Scores:
    """All scores of a protocol from stored tie groups: a new cutoff needs no codes.

    Raises:
        InputError: a convention of another code base, which needs the codes themselves.
    """
    return means(scores_by_query(groups, protocol), groups, protocol)


def means(by_query: dict[str, np.ndarray], groups: TieGroups, protocol: RetrievalProtocol) -> Scores:
    """Means over the queries that have a relevant item, and what they are about."""
    scores: Scores = {name: mean(values) for name, values in by_query.items()}
    if groups.distance is None:
        scores[f"precision_hamming_radius_{protocol.radius}"] = None
    return {**scores, **counts(groups)}


def scores_by_query(groups: TieGroups, protocol: RetrievalProtocol) -> dict[str, np.ndarray]:
    """Every score of each query (q,), NaN where the query has no relevant item.

    Raises:
        InputError: a convention of another code base.
    """
    if protocol.convention not in OWN:
        raise InputError(f"convention: '{protocol.convention}' needs codes, tie groups give {', '.join(OWN)}")
    divisor = OWN[protocol.convention]
    whole = average_precisions(groups, divisor)
    scores = {"map": whole["expected"], "map_best_ties": whole["best"], "map_worst_ties": whole["worst"]}
    for k in protocol.cutoffs:
        scores[f"map_at_{k}"] = average_precision(groups, k, divisor=divisor)
        precision, recall = precision_and_recall_at(groups, k)
        scores[f"precision_at_{k}"], scores[f"recall_at_{k}"] = precision, recall
    if groups.distance is not None:
        scores[f"precision_hamming_radius_{protocol.radius}"] = precision_within_radius(
            groups, protocol.radius
        )
    return scores


def counts(groups: TieGroups) -> dict[str, int]:
    """What the scores are about."""
    return {
        "n_queries": len(groups),
        "n_gallery": groups.n_gallery,
        "n_queries_without_relevant": int((groups.n_relevant == 0).sum()),
        "bits": groups.bits,
    }


def mean(values: np.ndarray) -> float | None:
    """Over the queries that count, those that are not NaN; None without any."""
    counted = values[~np.isnan(values)] if np.isnan(values.sum()) else values
    return min(max(float(counted.mean()), 0.0), 1.0) if len(counted) else None
