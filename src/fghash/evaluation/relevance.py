"""Which gallery items are relevant to which query, without a (query, gallery) matrix.

The gallery is sorted by label set; the items relevant to a query are then a few contiguous runs of it
(exactly one or none for single labels). Kernels count runs, and never look at a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fghash.errors import InputError


class Runs(NamedTuple):
    """Contiguous runs [start, stop) of the sorted gallery; query i owns runs ``offsets[i : i + 2]``."""

    offsets: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def select(self, query: int, values: np.ndarray) -> np.ndarray:
        """The ``values`` (g,), in sorted order, of the items relevant to a query."""
        spans = slice(self.offsets[query], self.offsets[query + 1])
        runs = [values[start:stop] for start, stop in zip(self.starts[spans], self.stops[spans], strict=True)]
        return runs[0] if len(runs) == 1 else np.concatenate([values[:0], *runs])


@dataclass(frozen=True, eq=False)
class Relevance:
    """``order`` (g,) sorts the gallery by label set. Set s covers [``edges[s]``, ``edges[s + 1]``) of it."""

    order: np.ndarray
    edges: np.ndarray
    gallery_sets: np.ndarray
    query_sets: np.ndarray

    @classmethod
    def of(cls, query_labels: np.ndarray, gallery_labels: np.ndarray) -> Relevance:
        """Relevance of checked labels (see :func:`fghash.codes.as_labels`): two items share a label.

        Raises:
            InputError: integers beside multi-hot, or matrices of different width.
        """
        _require_same_kind(query_labels, gallery_labels)
        if gallery_labels.ndim == 1 and int(np.ptp(gallery_labels)) < 1 << 16:
            return cls(*_sorted_by_counting(gallery_labels), query_labels)
        keys = gallery_labels if gallery_labels.ndim == 1 else _bytes(gallery_labels)
        order = np.argsort(keys, kind="stable")
        edges = _edges(keys[order])
        return cls(order, edges, gallery_labels[order[edges[:-1]]], query_labels)

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.query_sets)

    @property
    def most(self) -> int:
        """An upper bound of the relevant items of a query."""
        return int(np.diff(self.edges).max() if self.gallery_sets.ndim == 1 else self.edges[-1])

    @property
    def bytes_a_query(self) -> int:
        """About how much :meth:`runs` takes for each query."""
        return 32 * (len(self.gallery_sets) if self.gallery_sets.ndim == 2 else 1)

    def runs(self, start: int, stop: int) -> Runs:
        """The runs of queries start to stop."""
        queries = self.query_sets[start:stop]
        if queries.ndim == 1:
            return self._runs_of_classes(queries)
        shares = queries.astype(np.float32) @ self.gallery_sets.T.astype(np.float32) > 0
        return self._runs_of_sets(shares)

    def _runs_of_classes(self, classes: np.ndarray) -> Runs:
        place = np.searchsorted(self.gallery_sets, classes)
        place = np.minimum(place, len(self.gallery_sets) - 1)
        known = self.gallery_sets[place] == classes
        offsets = np.concatenate([[0], np.cumsum(known)])
        return Runs(offsets, self.edges[place[known]], self.edges[place[known] + 1])

    def _runs_of_sets(self, shares: np.ndarray) -> Runs:
        """Neighbouring sets of (queries, sets) booleans become one run."""
        framed = np.pad(shares, ((0, 0), (1, 1))).astype(np.int8)
        change = np.diff(framed, axis=1)
        rows, first = np.nonzero(change == 1)
        _, last = np.nonzero(change == -1)
        offsets = np.searchsorted(rows, np.arange(len(shares) + 1))
        return Runs(offsets, self.edges[first], self.edges[last])


def _edges(ordered: np.ndarray) -> np.ndarray:
    """Where the values of a sorted array change, with both ends."""
    change = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.concatenate([[0], change, [len(ordered)]]).astype(np.int64)


def _sorted_by_counting(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order, the edges and the classes of labels in a range of 16 bits, which numpy sorts by counting."""
    least = labels.min()
    short = np.asarray(labels - least, dtype=np.uint16)
    counts = np.bincount(short)
    present = np.flatnonzero(counts)
    edges = np.concatenate([[0], np.cumsum(counts[present])])
    return np.argsort(short, kind="stable"), edges, (present + least).astype(labels.dtype)


def _bytes(labels: np.ndarray) -> np.ndarray:
    """One opaque value per row, equal where the rows are."""
    packed = np.ascontiguousarray(np.packbits(labels, axis=1))
    return packed.view(np.dtype((np.void, packed.shape[1]))).reshape(-1)


def _require_same_kind(query_labels: np.ndarray, gallery_labels: np.ndarray) -> None:
    kinds = ["integers" if labels.ndim == 1 else "multi-hot" for labels in (query_labels, gallery_labels)]
    if kinds[0] != kinds[1]:
        raise InputError(f"labels: queries have {kinds[0]}, the gallery {kinds[1]}, expected the same kind")
    if query_labels.ndim == 2 and query_labels.shape[1] != gallery_labels.shape[1]:
        raise InputError(
            f"labels: queries have {query_labels.shape[1]} classes, the gallery {gallery_labels.shape[1]},"
            " expected the same number"
        )
