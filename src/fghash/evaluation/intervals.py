"""How sure a mean over queries is: bootstrap intervals, and a paired comparison of two runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fghash.errors import InputError
from fghash.evaluation.group_scores import scores_by_query
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.evaluation.ranking import TieGroups

_CELLS = 1 << 22  # random numbers drawn at a time


def bootstrap_intervals(
    groups: TieGroups,
    protocol: RetrievalProtocol,
    *,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile interval of every score: queries drawn with replacement, ``samples`` times (Efron 1979).

    The gallery is taken as given. Empty if no query has a relevant item.

    Raises:
        InputError: fewer than 100 samples, or a confidence outside (0, 1).
    """
    _require_samples(samples)
    if not 0 < confidence < 1:
        raise InputError(f"confidence: {confidence}, expected between 0 and 1")
    names, values = _counted(groups, protocol)
    if len(values) == 0:
        return {}
    low, high = _percentiles(_resampled(values, samples, seed), confidence)
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def compare(
    a: TieGroups,
    b: TieGroups,
    protocol: RetrievalProtocol,
    *,
    samples: int = 10000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two runs on the same queries: ``a``, ``b``, ``difference``, ``low``, ``high``, ``p_value`` of a score.

    ``difference`` is b - a with its 95 % bootstrap interval over queries; ``p_value`` that of the two-sided
    paired randomisation test: how often a difference at least as large arises when a and b are exchanged in
    each query at random (Fisher; Smucker, Allan and Carterette, CIKM 2007). Beside the scores:
    ``n_queries``, ``protocol``.

    Raises:
        InputError: the runs do not have the same queries (number, relevant items of each, size of the
            gallery).
    """
    _require_samples(samples)
    _require_same_queries(a, b)
    names, of_a = _counted(a, protocol)
    names_b, of_b = _counted(b, protocol)
    shared = [name for name in names if name in names_b]
    first = of_a[:, [names.index(name) for name in shared]]
    gaps = of_b[:, [names_b.index(name) for name in shared]] - first
    rows = _compared(shared, first, gaps, samples, seed) if len(gaps) else {}
    return {**rows, "n_queries": len(gaps), "protocol": protocol.name}


def _compared(
    names: list[str], first: np.ndarray, gaps: np.ndarray, samples: int, seed: int
) -> dict[str, Any]:
    difference = gaps.mean(axis=0)
    low, high = _percentiles(_resampled(gaps, samples, seed), 0.95)
    p_values = paired_p_values(gaps, samples, seed)
    return {
        name: {
            "a": float(first[:, i].mean()),
            "b": float(first[:, i].mean() + difference[i]),
            "difference": float(difference[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "p_value": float(p_values[i]),
        }
        for i, name in enumerate(names)
    }


def _counted(groups: TieGroups, protocol: RetrievalProtocol) -> tuple[list[str], np.ndarray]:
    """Names of the scores and their values (queries with a relevant item, scores)."""
    scores = scores_by_query(groups, protocol)
    return list(scores), np.stack(list(scores.values()), axis=1)[groups.n_relevant > 0]


def _resampled(values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means (samples, scores) of ``values`` (n, scores) over n draws with replacement."""
    n = len(values)

    def counts(random: np.random.Generator, rows: int) -> np.ndarray:
        drawn = random.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        return np.bincount(drawn.reshape(-1), minlength=rows * n).reshape(rows, n)

    return _weighted_means(values, samples, seed, counts)


def _flipped(gaps: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means (samples, scores) of ``gaps`` (n, scores) with random signs."""

    def signs(random: np.random.Generator, rows: int) -> np.ndarray:
        return random.integers(2, size=(rows, len(gaps))) * 2 - 1

    return _weighted_means(gaps, samples, seed, signs)


def _weighted_means(
    values: np.ndarray, samples: int, seed: int, weights: Callable[[np.random.Generator, int], np.ndarray]
) -> np.ndarray:
    random = np.random.default_rng(seed)
    parts = [weights(random, rows) @ values for rows in _portions(samples, len(values))]
    return np.asarray(np.concatenate(parts) / len(values))


def _portions(samples: int, n: int) -> Iterator[int]:
    """Whole rows of n random numbers, not too many at a time."""
    most = max(1, _CELLS // n)
    while samples > 0:
        yield min(most, samples)
        samples -= most


def _percentiles(means: np.ndarray, confidence: float) -> np.ndarray:
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(means, [tail, 1 - tail], axis=0))


def _require_samples(samples: int) -> None:
    if samples < 100:
        raise InputError(f"samples: {samples}, expected 100 or more")


def _require_same_queries(a: TieGroups, b: TieGroups) -> None:
    for name, first, second in (
        ("queries", len(a), len(b)),
        ("gallery items", a.n_gallery, b.n_gallery),
    ):
        if first != second:
            raise InputError(f"compare: {first} and {second} {name}, expected the same queries and gallery")
    differ = np.flatnonzero(a.n_relevant != b.n_relevant)
    if len(differ):
        q = int(differ[0])
        raise InputError(
            f"compare: query {q} has {a.n_relevant[q]} and {b.n_relevant[q]} relevant items,"
            " expected the same queries and gallery"
        )


def mean_interval(values: np.ndarray, samples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of ``values`` (n), drawn with replacement."""
    low, high = _percentiles(_resampled(values[:, None], samples, seed), 0.95)
    return float(low[0]), float(high[0])


def paired_p_values(gaps: np.ndarray, samples: int = 10000, seed: int = 0) -> np.ndarray:
    """Of the two-sided paired randomisation test (:func:`compare`), for each column of ``gaps`` (n, k)."""
    flipped = np.abs(_flipped(gaps, samples, seed))
    rounding = 1e-12 * np.abs(gaps).mean(axis=0)
    extreme = (flipped >= np.abs(gaps.mean(axis=0)) - rounding).sum(axis=0)
    return np.asarray((extreme + 1) / (samples + 1))
