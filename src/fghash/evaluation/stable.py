"""Ranks of relevant items when ties stand in gallery order: what other conventions are computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes
from fghash.evaluation.conventions import CONVENTIONS, StableRanks
from fghash.evaluation.distances import Distances, distinct_rows, prepare_distances
from fghash.evaluation.group_scores import mean
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.work import Work


def convention_scores(
    names: Sequence[str], queries: Any, gallery: Any, relevance: Relevance, cutoffs: Sequence[int], work: Work
) -> dict[str, dict[str, float | None]]:
    """``map`` and ``map_at_k`` as each of these code bases computes them; None where it computes none.

    Codes are of kinds that fit. Ranks are kept of a block of queries at a time, and of it all conventions.
    """
    ranks = _prepare(queries, gallery, relevance)
    cuts = {"map": None, **{f"map_at_{k}": k for k in cutoffs}}

    def block(start: int, stop: int) -> list[np.ndarray]:
        ranking = ranks(start, stop)
        return [CONVENTIONS[name].average_precision(ranking, k) for name in names for k in cuts.values()]

    a_query = 24 * len(gallery) + 100 * relevance.most + relevance.bytes_a_query
    blocks = work.map(block, work.blocks(len(queries), a_query))
    means = iter([mean(np.concatenate(parts)) for parts in zip(*blocks, strict=True)])
    return {name: {score: next(means) for score in cuts} for name in names}


def _prepare(queries: Any, gallery: Any, relevance: Relevance) -> Callable[[int, int], StableRanks]:
    """The ranks of all items relevant to some queries."""
    binary = isinstance(gallery, BinaryCodes)
    distances = _binary(gallery) if binary else _real(gallery)
    rows = queries.words() if binary else queries.vectors

    def ranks(start: int, stop: int) -> StableRanks:
        near, runs = distances(rows[start:stop]), relevance.runs(start, stop)
        found = [_ranks(row, runs.select(i, relevance.order)) for i, row in enumerate(near)]
        query = np.repeat(np.arange(len(found)), [len(each) for each in found])
        place = np.concatenate([np.arange(1, len(each) + 1) for each in found])
        return StableRanks(query, place, np.concatenate(found), len(found), len(gallery))

    return ranks


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
