"""Random numbers that are a pure function of their key: no state, no order of calls, no platform.

Order, augmentation, splits and the synthetic images are all drawn from here, so that they do not depend on
the number of workers, on where a run was interrupted, or on the version of a library's generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that scatters all 64 bits."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


def bits(*key: ArrayLike, count: int) -> NDArray[np.uint64]:
    """``count`` random 64-bit words for each key; parts of the key are integers or arrays, broadcast.

    >>> [hex(word) for word in bits(0, 1, count=2)]
    ['0x94926c2e801cb6f9', '0x2a1558757df60dc2']
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for part in key:
            state = _mix(state + _GOLDEN + np.asarray(part, np.int64).astype(np.uint64))
        steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        shape = np.broadcast_shapes(*(np.shape(part) for part in key))
        return _mix(state[..., None] + steps).reshape(*shape, count)


def uniforms(*key: ArrayLike, count: int) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1) for each key, as :func:`bits`."""
    return (bits(*key, count=count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(*key: int, n: int) -> NDArray[np.int64]:
    """A random order of 0 .. n - 1.

    >>> permutation(0, n=5).tolist()
    [2, 0, 3, 1, 4]
    """
    return np.argsort(bits(*key, count=n), kind="stable").astype(np.int64)
