"""How kernels are compiled: by numba, kept on disk where a folder is writable, without holding the GIL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """numba's cache on disk; one that is damaged or full costs compiling anew, and nothing else."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is stored for this signature, ``None`` if nothing readable is."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # whatever unpickling makes of a damaged file
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store, if there is space and what is there already can be read."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception:
            self._forget()

    def _forget(self) -> None:
        """Remove the index, so that a damaged one does not stay for ever."""
        try:
            self.flush()  # type: ignore[no-untyped-call]
        except Exception:
            self._enabled = False


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile at first use; keep the result on disk if any folder is writable.

    What is kept is renewed when the function's own file changes: all that a kernel calls is in its file.

    Args:
        function: in numba's part of Python.
        options: further ones of ``numba.njit``.
    """
    dispatcher = numba.njit(nogil=True, **options)(function)
    if not hasattr(dispatcher, "enable_caching"):
        return dispatcher  # NUMBA_DISABLE_JIT: the plain function
    with contextlib.suppress(RuntimeError):  # no writable folder at all: compiled anew in every process
        dispatcher._cache = _Cache(dispatcher.py_func)  # type: ignore[no-untyped-call]
    return dispatcher
