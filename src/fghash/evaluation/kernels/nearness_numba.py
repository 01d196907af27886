"""The compiled kernel of :mod:`fghash.evaluation.kernels.nearness`.

The distances of the relevant items are sorted; each of them is a level. Every code is then put at or below
its level by a table over equal steps of distance, which names the first level that can be meant.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.compiled import compiled
from fghash.evaluation.distances import item_parts, prepare_distances, query_parts
from fghash.evaluation.kernels.nearness_numpy import Counter, Levels
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work

_HUGE = 1e38  # near the largest float32
_TABLE = 8192  # steps of the table, about: so many that few of them hold a level


def prepare(
    gallery: QuantizedCodes | RealCodes, multiplicity: np.ndarray, number: np.ndarray, work: Work
) -> Counter:
    """The counter of this gallery (see :mod:`fghash.evaluation.kernels.nearness`)."""
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
    levels, counts = _runs_of_equals(np.sort(distances[relevant]))
    size = np.zeros(len(levels), np.int64)
    nearer = np.zeros(len(levels), np.int64)
    if len(levels) > 0:
        low, scale, table = _steps(levels)
        farthest = levels[-1]
        for i in range(len(distances)):
            distance = distances[i]
            if distance <= farthest:
                place = np.uint64(table[_step(distance, low, scale, len(table))])
                while levels[place] < distance:
                    place += np.uint64(1)
                if levels[place] == distance:
                    size[place] += multiplicity[i]
                else:
                    nearer[place] += multiplicity[i]
    before = 0
    for level in range(len(levels)):
        before += nearer[level]
        nearer[level] = before
        before += size[level]
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
    low, span = levels[0], np.float64(levels[-1]) - np.float64(levels[0])
    length = max(2 * len(levels), min(16 * len(levels), _TABLE))
    scale = np.float32(length / span) if length / _HUGE < span < _HUGE else np.float32(0)
    table = np.empty(length, np.uint32)
    done = np.uint64(0)
    for place in range(len(levels)):
        step = _step(levels[place], low, scale, length)
        while done <= step:
            table[done] = place
            done += np.uint64(1)
    for step in range(done, np.uint64(length)):
        table[step] = len(levels) - 1
    return low, scale, table


@compiled
def _step(distance, low, scale, length):
    """Never decreases with distance, and lies in [0, length)."""
    position = (distance - low) * scale
    if position > 0:
        return np.uint64(min(position, np.float32(length - 1)))
    return np.uint64(0)
