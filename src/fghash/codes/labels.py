"""Labels: (n,) integers or (n, classes) multi-hot, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from fghash.codes.kinds import as_array, require_finite
from fghash.errors import InputError


def as_labels(values: Any, name: str = "labels") -> np.ndarray:
    """Labels as (n,) int64 or as (n, classes) bool.

    Any integers are legal, negative ones too. Floats are accepted if all are whole numbers (3.0 is 3), since
    files of other programs hold them. A matrix holds only 0 and 1.

    Raises:
        InputError: any other shape or value.
    """
    labels = as_array(values, name)
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] == 0):
        raise InputError(
            f"{name}: shape {labels.shape}, expected (items,) integers or (items, classes) of 0 and 1"
        )
    require_finite(labels, name)
    if labels.ndim == 2:
        return _as_multi_hot(labels, name)
    return _as_integers(labels, name)


def _as_integers(labels: np.ndarray, name: str) -> np.ndarray:
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        raise InputError(f"{name}: value {labels[labels != np.floor(labels)][0]}, expected whole numbers")
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)
    if labels.dtype.kind in "uf" and labels.size and not -(2.0**63) <= labels.min() <= labels.max() < 2.0**63:
        raise InputError(f"{name}: values {labels.min()} to {labels.max()}, expected integers of 64 bits")
    return np.ascontiguousarray(labels, dtype=np.int64)


def _as_multi_hot(labels: np.ndarray, name: str) -> np.ndarray:
    if labels.dtype != np.bool_:
        other = labels[(labels != 0) & (labels != 1)]
        if other.size:
            raise InputError(f"{name}: value {other[0]} in a matrix (items, classes), expected 0 and 1")
    return np.ascontiguousarray(labels, dtype=np.bool_)
