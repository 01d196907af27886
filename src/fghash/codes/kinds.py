"""What all codes share: the protocol, and checked arrays, which every kind of codes is made of."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from fghash.errors import InputError


@runtime_checkable
class Codes(Protocol):
    """What a gallery stores, one row an item. Distances: smaller = closer."""

    @property
    def bits_per_item(self) -> int:
        """Storage of one item, in bits."""

    def __len__(self) -> int: ...

    def take(self, indices: Any) -> Self:
        """The items at these positions, in this order (an index array, a boolean mask or a slice)."""

    def prefix(self, bits: int) -> Self:
        """The shorter codes nested in these.

        Raises:
            InputError: codes of this kind are not nested, or not at that length.
        """


def as_array(values: Any, name: str) -> np.ndarray:
    """A numpy array of native byte order, of whatever array-like or torch tensor (detached, on the CPU).

    Raises:
        InputError: Python objects or text inside.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float().numpy() if "bfloat16" in str(values.dtype) else values.numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}: holds {array.dtype}, expected booleans or numbers")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def require_matrix(array: np.ndarray, name: str) -> None:
    """Refuse what is not (items, width >= 1)."""
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"{name}: shape {array.shape}, expected (items, width) with width 1 or more")


def as_float32(values: Any, name: str) -> np.ndarray:
    """Contiguous finite float32 numbers.

    Raises:
        InputError: NaN, infinities, or numbers beyond float32.
    """
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(as_array(values, name), dtype=np.float32)
    require_finite(array, name)
    return array


def require_finite(array: np.ndarray, name: str) -> None:
    """Refuse NaN and infinities, naming the first."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name}: value {array[position]} at {position}, expected finite numbers")


def require_choice(value: Any, allowed: tuple[str, ...], name: str) -> str:
    """The text ``value`` if it is one of ``allowed``."""
    text = str(value)
    if text not in allowed:
        raise InputError(f"{name}: '{text}', expected one of {', '.join(allowed)}")
    return text
