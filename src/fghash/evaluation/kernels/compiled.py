"""How kernels are compiled: by numba, kept on disk where a folder is writable, without holding the GIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at first use; keep the result on disk if any folder is writable.

    What is kept is renewed when the function's own file changes: all that a kernel calls is in its file.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no writable folder at all: compile anew in every process
        return numba.njit(nogil=True)(function)
