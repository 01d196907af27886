"""Kernels of our own on a GPU, compiled at first use by NVRTC, which CUDA builds of PyTorch bring along.

Each has another way for where that is not possible; it is taken with a line.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch

_STATIC = 48 * 1024  # bytes of shared memory that any kernel may have


class NoKernel(Exception):
    """This build of PyTorch, or this GPU, cannot have the kernel."""


class SlowWay(UserWarning):
    """A GPU goes without one of its own kernels."""


@cache
def kernel(source: str, name: str, device: torch.device, shared_bytes: int = 0) -> Any:
    """``name`` of a CUDA source, to be called with ``grid``, ``block``, ``args`` and ``shared_mem``.

    Raises:
        NoKernel: it cannot be compiled here.
    """
    try:
        with torch.cuda.device(device):
            compiled = torch.cuda._compile_kernel(source, name)  # torch has no public one
            if shared_bytes >= _STATIC:
                compiled.set_shared_memory_config(shared_bytes)
    except (AttributeError, ImportError, OSError, RuntimeError, TypeError) as error:
        raise NoKernel((str(error).strip() or type(error).__name__).splitlines()[0]) from error
    return compiled


@cache
def tell(device: torch.device, instead: str, reason: str) -> None:
    """Say once that a GPU goes another way, and why."""
    warnings.warn(f"{device}: no kernel of its own ({reason}), {instead}", SlowWay, stacklevel=3)
