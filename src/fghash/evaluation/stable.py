"""Ranks of relevant items when ties stand in gallery order: what other conventions are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes
from fghash.evaluation.conventions import CONVENTIONS, StableRanks
from fghash.evaluation.distances import Distances, distinct_rows, prepare_distances
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.work import Work


def stable_ranks(queries: Any, gallery: Any, relevance: Relevance, work: Work) -> StableRanks:
    """The ranks of all relevant items; codes of kinds that fit."""
    binary = isinstance(gallery, BinaryCodes)
    distances = _binary(gallery) if binary else _real(gallery)
    rows = queries.words() if binary else queries.vectors

    def block(start: int, stop: int) -> list[np.ndarray]:
        near, runs = distances(rows[start:stop]), relevance.runs(start, stop)
        return [_ranks(row, runs.select(i, relevance.order)) for i, row in enumerate(near)]

    an_item = 24 * len(gallery) + relevance.bytes_a_query
    ranks = [found for part in work.map(block, work.blocks(len(rows), an_item)) for found in part]
    query = np.repeat(np.arange(len(ranks)), [len(found) for found in ranks])
    place = np.concatenate([np.arange(1, len(found) + 1) for found in ranks])
    return StableRanks(query, place, np.concatenate(ranks), len(ranks), len(gallery))


def convention_scores(name: str, ranks: StableRanks, cutoffs: Sequence[int]) -> dict[str, float | None]:
    """``map`` and ``map_at_k`` as that code base computes them; None where it computes none."""
    convention = CONVENTIONS[name]
    at = {f"map_at_{k}": convention.mean(ranks, k) for k in cutoffs}
    return {"map": convention.mean(ranks, None), **at}


def _ranks(distance: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    order = np.argsort(distance, kind="stable")
    chosen = np.zeros(len(distance), dtype=np.bool_)
    chosen[relevant] = True
    return np.flatnonzero(chosen[order]) + 1


def _binary(gallery: BinaryCodes) -> Distances:
    words = gallery.words()

    def distances(queries: np.ndarray) -> np.ndarray:
        rows = [np.bitwise_count(words ^ query).sum(axis=1, dtype=np.uint16) for query in queries]
        return np.stack(rows)

    return distances


def _real(gallery: Any) -> Distances:
    first, number = distinct_rows(gallery)
    near = prepare_distances(gallery.take(first))
    return lambda queries: near(queries)[:, number]
