"""Quality and speed of an index on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fghash.ann.bed import Bed
from fghash.ann.indexes import Kind, Search
from fghash.search.engines import import_faiss

K = 10  # neighbours that are asked for
_BATCH = 1000
_FEWEST = 20  # queries that are timed at least, however slow

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One index at one setting.

    ``precision_at_10``: of the items found, those that share a label; ``recall_at_10``: of the ten nearest by
    exact search on the vectors, those found. All times are on one thread: ``queries_per_second`` and
    milliseconds of single queries, ``batch_queries_per_second`` of ``batch`` at a time. ``timed``: single
    queries in the time allowed, 20 at least; precision and recall are those of these.
    ``ratio``: speed of single queries to that of the linear scan of the same table.
    """

    index: str
    setting: str
    searches: str
    precision_at_10: float
    recall_at_10: float
    queries_per_second: float
    ratio: float
    batch_queries_per_second: float
    batch: int
    p50_ms: float
    p99_ms: float
    memory_mb: float
    build_seconds: float
    timed: int


def exact_neighbours(bed: Bed) -> np.ndarray:
    """The nearest items (q, 10) of every query by its real vector, on all threads."""
    index = import_faiss().IndexFlatL2(bed.real.shape[1])
    index.add(bed.real)
    return np.asarray(index.search(bed.real_queries, K)[1])


def measured(
    bed: Bed,
    kinds: Iterator[tuple[str, Kind]],
    seconds: float,
    known: Mapping[tuple[str, str], Mapping[str, Any]],
    say: Say,
) -> Iterator[Row]:
    """A row for each index and setting, as soon as it is measured; what is ``known`` is not measured again.

    Args:
        bed: what is searched.
        kinds: the indexes, the linear scan first.
        seconds: that the timing of single queries of one row may take, and that of batches again.
        known: rows of an earlier, interrupted call.
        say: is told what is built.
    """
    exact, linear = exact_neighbours(bed), 0.0
    for name, kind in kinds:
        before = [Row(**dict(row)) for (index, _), row in known.items() if index == name]
        rows = iter(before) if before else _rows(bed, name, kind, exact, seconds, say)
        for row in rows:
            linear = row.queries_per_second if name == "linear" else linear
            yield Row(**{**asdict(row), "ratio": round(row.queries_per_second / linear, 4)})


def _rows(bed: Bed, name: str, kind: Kind, exact: np.ndarray, seconds: float, say: Say) -> Iterator[Row]:
    say(f"building {name}: {kind.what}")
    began = time.perf_counter()
    try:
        built = kind.build(bed)
    except RuntimeError as error:  # how faiss says that there are too few items to train on
        say(f"  {name}: not built ({str(error).strip().splitlines()[0].rpartition(': ')[2]})")
        return
    build_seconds = time.perf_counter() - began
    for setting, search in built.searches.items():
        with one_thread():
            found, singles = _single(search, len(bed.query_labels), seconds)
            batch, batch_speed = _batches(search, len(bed.query_labels), float(np.median(singles)), seconds)
        half, most = (round(1000 * float(np.quantile(singles, part)), 4) for part in (0.5, 0.99))
        yield Row(
            index=name, setting=setting, searches=kind.searches,
            precision_at_10=round(float(bed.right(found).mean()), 4),
            recall_at_10=round(recall(found, exact[: len(found)]), 4),
            queries_per_second=round(len(singles) / float(np.sum(singles)), 2), ratio=0.0,
            batch_queries_per_second=round(batch_speed, 2), batch=batch, p50_ms=half, p99_ms=most,
            memory_mb=round(built.n_bytes / 1e6, 3), build_seconds=round(build_seconds, 3),
            timed=len(singles),
        )  # fmt: skip


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Of the exact neighbours (q, k) those that were found (q, k), a mean over queries.

    >>> recall(np.array([[3, 1], [-1, 4]]), np.array([[1, 2], [4, 5]]))
    0.5
    """
    return float((exact[:, :, None] == found[:, None, :]).any(2).mean())


class one_thread:
    """A context in which faiss uses one thread (scikit-learn's trees and fghash's scan have no more)."""

    def __enter__(self) -> None:
        self.faiss = import_faiss()
        self.before = self.faiss.omp_get_max_threads()
        self.faiss.omp_set_num_threads(1)

    def __exit__(self, *_: Any) -> None:
        self.faiss.omp_set_num_threads(self.before)


def _single(search: Search, n_queries: int, seconds: float) -> tuple[np.ndarray, Sequence[float]]:
    """Items found and time of single queries, one after the other, until the time is over."""
    search(np.zeros(1, np.int64), K)  # whatever is done once is done
    found, times, total = [], [], 0.0
    for query in range(n_queries):
        began = time.perf_counter()
        found.append(search(np.array([query]), K))
        times.append(time.perf_counter() - began)
        total += times[-1]
        if total > seconds and len(times) >= _FEWEST:
            break
    return np.concatenate(found), times


def _batches(search: Search, n_queries: int, single: float, seconds: float) -> tuple[int, float]:
    """Queries of a batch, 1,000 unless that takes too long, and queries a second."""
    batch = int(np.clip(seconds / max(single, 1e-9), 1, _BATCH))
    positions = np.arange(batch) % n_queries
    began = time.perf_counter()
    search(positions, K)
    return batch, batch / (time.perf_counter() - began)
