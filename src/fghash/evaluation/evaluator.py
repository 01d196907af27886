"""Codes and labels in, scores out: the one evaluator of every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes, as_labels
from fghash.errors import InputError
from fghash.evaluation import metrics
from fghash.evaluation.hamming import hamming_groups
from fghash.evaluation.nearness import nearness_groups
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.evaluation.ranking import TieGroups
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.work import Work

Scores = dict[str, float | int | None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """``scores`` by name, and the tie ``groups`` from which any other cutoff can be scored."""

    scores: Scores
    groups: TieGroups
    protocol: RetrievalProtocol


def evaluate(
    queries: Codes,
    gallery: Codes,
    query_labels: Any,
    gallery_labels: Any,
    protocol: RetrievalProtocol | None = None,
    *,
    memory: int | None = None,
    progress: bool = False,
    threads: int | None = None,
    kernel: str = "auto",
    device: str | None = None,
) -> Evaluation:
    """Score the ranking of ``gallery`` for each of ``queries``.

    Queries are of the gallery's kind and length, or RealCodes against QuantizedCodes. Labels are (n,)
    integers or (n, classes) multi-hot, and an item is relevant if it shares a label. ``memory``: bytes of
    working arrays, about (default 256 MB). ``threads``: default all cores of this process. ``kernel``:
    ``numba``, ``numpy``, ``torch`` or ``auto``. ``device``: where torch counts (``cuda``). The scores do not
    depend on any of these.

    Raises:
        InputError: no items, codes or labels that do not fit one another, or values that are no codes or
        labels.
    """
    relevance = _checked(queries, gallery, as_labels(query_labels), as_labels(gallery_labels))
    work = Work.of(memory=memory, progress=progress, threads=threads, kernel=kernel, device=device)
    groups = _groups(queries, gallery, relevance, work)
    protocol = protocol or RetrievalProtocol()
    return Evaluation(scores_from_groups(groups, protocol), groups, protocol)


def scores_from_groups(groups: TieGroups, protocol: RetrievalProtocol) -> Scores:
    """All scores of a protocol from stored tie groups: a new cutoff needs no codes."""
    counted = int((groups.n_relevant > 0).sum())
    scores: Scores = {
        "map": _mean(metrics.average_precision(groups)),
        "map_best_ties": _mean(metrics.average_precision(groups, ties="best")),
        "map_worst_ties": _mean(metrics.average_precision(groups, ties="worst")),
    }
    for k in protocol.cutoffs:
        scores[f"map_at_{k}"] = _mean(metrics.average_precision(groups, k))
        scores[f"precision_at_{k}"] = _mean(metrics.precision_at(groups, k))
        scores[f"recall_at_{k}"] = _mean(metrics.recall_at(groups, k))
    within = metrics.precision_within_radius(groups, protocol.radius)
    scores[f"precision_hamming_radius_{protocol.radius}"] = None if within is None else _mean(within)
    counts = {"n_queries": len(groups), "n_gallery": groups.n_gallery}
    return {**scores, **counts, "n_queries_without_relevant": len(groups) - counted, "bits": groups.bits}


def _mean(values: np.ndarray) -> float | None:
    counted = values[~np.isnan(values)]
    return float(np.clip(counted.mean(), 0.0, 1.0)) if len(counted) else None


def _groups(queries: Codes, gallery: Codes, relevance: Relevance, work: Work) -> TieGroups:
    if isinstance(queries, BinaryCodes) and isinstance(gallery, BinaryCodes):
        return hamming_groups(queries, gallery, relevance, work)
    if isinstance(queries, RealCodes) and isinstance(gallery, (QuantizedCodes, RealCodes)):
        return nearness_groups(queries, gallery, relevance, work)
    raise InputError(f"codes: queries are {_kind(queries)}, the gallery {_kind(gallery)}, {_EXPECTED}")


_EXPECTED = "expected both binary, both real, or real queries of a quantized gallery"


def _kind(codes: Codes) -> str:
    return type(codes).__name__


def _checked(
    queries: Codes, gallery: Codes, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Relevance:
    for name, codes, labels in (("queries", queries, query_labels), ("gallery", gallery, gallery_labels)):
        if len(codes) == 0:
            raise InputError(f"{name}: 0 items, expected at least 1")
        if len(codes) != len(labels):
            raise InputError(
                f"{name}: {len(labels)} labels for {len(codes)} codes, expected one label an item"
            )
    return Relevance.of(query_labels, gallery_labels)
