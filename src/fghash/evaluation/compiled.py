"""How kernels are compiled: by numba, kept on disk where a folder is writable, without holding the GIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import types
from numba.extending import intrinsic


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at first use; keep the result on disk if any folder is writable."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no writable folder at all: compile anew in every process
        return numba.njit(nogil=True)(function)


@intrinsic  # type: ignore[misc]
def popcount(context, word):  # type: ignore[no-untyped-def]
    """Number of ones of an unsigned 64-bit word, by the processor's instruction."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate
