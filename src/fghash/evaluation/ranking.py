"""Tie groups: all that metrics ever see of a ranking, and the tie rule's one home.

A tie group is the set of gallery items at one distance from a query. Nothing orders the items within it, so
a score is the expected value over all orders (or the best, or the worst of them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fghash.codes.archives import load_arrays, save_arrays
from fghash.errors import InputError
from fghash.evaluation.kernels import group_sums


@dataclass(frozen=True, eq=False)
class TieGroups:
    """The tie groups of q queries against one gallery of ``n_gallery`` items.

    Query i owns groups ``offsets[i]`` to ``offsets[i + 1]``, nearest first. Of each group: ``nearer``
    (items closer than it), ``size`` (items in it) and ``relevant`` (relevant items in it). Binary codes of
    ``bits`` bits keep every group that is not empty, with its Hamming ``distance``; other codes keep the
    groups that hold a relevant item, and their ``distance`` is None.
    """

    offsets: np.ndarray
    nearer: np.ndarray
    size: np.ndarray
    relevant: np.ndarray
    distance: np.ndarray | None
    n_gallery: int
    bits: int

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.offsets) - 1

    @cached_property
    def query(self) -> np.ndarray:
        """The query that owns each group."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def relevant_nearer(self) -> np.ndarray:
        """Relevant items closer than each group."""
        before = self._relevant_before
        return np.asarray(before[:-1] - np.repeat(before[self.offsets[:-1]], np.diff(self.offsets)))

    @cached_property
    def n_relevant(self) -> np.ndarray:
        """Relevant items of each query."""
        total = np.zeros(len(self), np.int64)
        group_sums.relevant_of(self.offsets, self.relevant, total)
        return total

    @cached_property
    def _relevant_before(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.relevant, dtype=np.int64)])

    def where(self, keep: np.ndarray) -> TieGroups:
        """Only the groups of this mask, for the same queries."""
        kept = np.flatnonzero(keep)
        if len(kept) == len(keep):
            return self
        return replace(
            self,
            offsets=np.searchsorted(kept, self.offsets),
            nearer=self.nearer.take(kept),
            size=self.size.take(kept),
            relevant=self.relevant.take(kept),
            distance=None if self.distance is None else self.distance.take(kept),
        )

    def save(self, path: str | Path) -> None:
        """Write an ``.npz``, all or nothing."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in (*_ARRAYS, *_NUMBERS)}
        if self.distance is not None:
            arrays["distance"] = self.distance
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> TieGroups:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: not such a file.
        """
        arrays = load_arrays(path)
        missing = [name for name in (*_ARRAYS, *_NUMBERS) if name not in arrays]
        if missing:
            raise InputError(f"{path}: no array '{missing[0]}', expected a file of tie groups")
        if not _are_groups(arrays):
            raise InputError(f"{path}: arrays that do not fit one another, expected a file of tie groups")
        fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        fields |= {name: int(arrays[name]) for name in _NUMBERS}
        return cls(**fields, distance=arrays.get("distance"))


class Blocks(NamedTuple):
    """``groups(start, stop)`` of some queries, and about how many bytes each of them takes while at work."""

    groups: Callable[[int, int], TieGroups]
    bytes_a_query: int


_ARRAYS = ("offsets", "nearer", "size", "relevant")
_NUMBERS = ("n_gallery", "bits")


def _are_groups(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether these whole numbers can be tie groups: of fitting lengths and within the gallery."""
    listed = [arrays[name] for name in (*_ARRAYS, "distance") if name in arrays]
    if any(array.ndim != 1 or array.dtype.kind not in "iu" for array in listed):
        return False
    if any(arrays[name].ndim != 0 or arrays[name].dtype.kind not in "iu" for name in _NUMBERS):
        return False
    offsets, nearer, size, relevant = listed[:4]
    if len({len(array) for array in listed[1:]}) > 1 or len(offsets) == 0:
        return False
    return bool(
        offsets[0] == 0
        and offsets[-1] == len(size)
        and (np.diff(offsets.astype(np.int64)) >= 0).all()
        and (nearer >= 0).all()
        and (relevant >= 0).all()
        and (relevant <= size).all()
        and (nearer.astype(np.int64) + size <= arrays["n_gallery"]).all()
    )


def groups_of_histograms(total: np.ndarray, relevant: np.ndarray, n_gallery: int, bits: int) -> TieGroups:
    """Groups of (queries, bits + 1) int32 counts of all and of relevant items at each distance."""
    offsets = group_sums.filled(total)
    nearer, size, found, distance = (np.empty(offsets[-1], np.int32) for _ in range(4))
    group_sums.compress(total, relevant, offsets, nearer, size, found, distance)
    return TieGroups(offsets, nearer, size, found, distance, n_gallery, bits)


def join_groups(parts: Sequence[TieGroups]) -> TieGroups:
    """The groups of several blocks of queries, in order."""
    shifts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[1:] + shift for part, shift in zip(parts, shifts, strict=False)]
    fields: dict[str, Any] = {"offsets": np.concatenate([[0], *offsets])}
    for name in (*_ARRAYS[1:], "distance"):
        values = [getattr(part, name) for part in parts]
        fields[name] = None if values[0] is None else np.concatenate(values)
    return replace(parts[0], **fields)
