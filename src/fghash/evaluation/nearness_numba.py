"""The compiled kernel of :mod:`fghash.evaluation.nearness`.

The distances of the relevant items are sorted; each of them is a level. Every code is then put at or below
its level by a table over equal steps of distance, which names the first level that can be meant.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.evaluation.compiled import compiled
from fghash.evaluation.distances import item_parts, prepare_distances, query_parts
from fghash.evaluation.nearness import Counter, Levels
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work

_STEPS = 4  # steps of the table for each level


def prepare(
    gallery: QuantizedCodes | RealCodes, multiplicity: np.ndarray, number: np.ndarray, work: Work
) -> Counter:
    """The counter of this gallery (see :mod:`fghash.evaluation.nearness`)."""
    if isinstance(gallery, QuantizedCodes):
        return _prepare_quantized(gallery, multiplicity, number)
    distances = prepare_distances(gallery)

    def count(queries: np.ndarray, runs: Runs) -> list[Levels]:
        rows = distances(queries)
        return [_levels(row, multiplicity, runs.select(i, number)) for i, row in enumerate(rows)]

    return count


def _prepare_quantized(gallery: QuantizedCodes, multiplicity: np.ndarray, number: np.ndarray) -> Counter:
    words = np.ascontiguousarray(gallery.codebooks.astype(np.float64).transpose(0, 2, 1))
    item_part = item_parts(gallery)
    product, l2 = gallery.structure == "product", gallery.similarity == "l2"

    def count(queries: np.ndarray, runs: Runs) -> list[Levels]:
        parts = query_parts(queries, gallery)
        levels = []
        for i, query in enumerate(queries.astype(np.float64)):
            table = _table(query, words, product, l2)
            row = _look_up(table, gallery.indices, item_part, parts[i])
            levels.append(_levels(row, multiplicity, runs.select(i, number)))
        return levels

    return count


@compiled
def _table(query, words, product, l2):
    """As :func:`fghash.evaluation.distances.lookup_tables`, for one query; ``words`` (m, d, k)."""
    m, d, k = words.shape
    table = np.zeros((m, k))
    for j in range(m):
        for i in range(d):
            value = query[j * d + i] if product else query[i]
            for w in range(k):
                gap = value - words[j, i, w]
                table[j, w] += gap * gap if product and l2 else value * words[j, i, w]
    if product and l2:
        return table
    return table * (-2.0 if l2 else -1.0)


@compiled
def _look_up(table, indices, item_part, query_part):
    distances = np.empty(len(indices), np.float32)
    for i in range(len(indices)):
        total = query_part + item_part[i]
        for j in range(indices.shape[1]):
            total += table[j, indices[i, j]]
        distances[i] = total
    return distances


@compiled
def _levels(distances, multiplicity, relevant):
    ordered = np.sort(distances[relevant])
    levels, counts = _runs_of_equals(ordered)
    size = np.zeros(len(levels), np.int64)
    nearer = np.zeros(len(levels), np.int64)
    if len(levels) == 0:
        return nearer, size, counts
    low, scale, table = _steps(levels)
    for i in range(len(distances)):
        distance = distances[i]
        if distance > levels[-1]:
            continue
        place = table[_step(distance, low, scale, len(table))]
        while levels[place] < distance:
            place += 1
        if levels[place] == distance:
            size[place] += multiplicity[i]
        else:
            nearer[place] += multiplicity[i]
    before = 0
    for place in range(len(levels)):
        before += nearer[place]
        nearer[place] = before
        before += size[place]
    return nearer, size, counts


@compiled
def _runs_of_equals(ordered):
    levels = np.empty(len(ordered), ordered.dtype)
    counts = np.zeros(len(ordered), np.int64)
    n = 0
    for value in ordered:
        if n == 0 or value != levels[n - 1]:
            levels[n] = value
            n += 1
        counts[n - 1] += 1
    return levels[:n], counts[:n]


@compiled
def _steps(levels):
    """For each step of distance the first level at or beyond it: levels of earlier steps are smaller."""
    low, span = np.float64(levels[0]), np.float64(levels[-1]) - np.float64(levels[0])
    length = _STEPS * len(levels)
    scale = length / span if 0 < span < np.inf else 0.0
    table = np.empty(length, np.int64)
    place = 0
    for step in range(length):
        while place < len(levels) - 1 and _step(levels[place], low, scale, length) < step:
            place += 1
        table[step] = place
    return low, scale, table


@compiled
def _step(distance, low, scale, length):
    """Never decreases with distance."""
    position = (np.float64(distance) - low) * scale
    if position > 0:
        return min(length - 1, np.int64(position))
    return 0
