"""How much a kernel may use: memory, threads, which implementation, and whether to show progress."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from fghash.errors import InputError

T = TypeVar("T")
DEFAULT_MEMORY = 256 * 10**6
KERNELS = ("auto", "numba", "numpy", "torch")
_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}


def parse_memory(text: str | int) -> int:
    """Bytes of "2GB", "500 MB", "1.5GiB" or a number.

    Raises:
        InputError: anything else, or less than 1 MB.

    >>> parse_memory("2GB"), parse_memory("1.5 GiB")
    (2000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?I?)B?\s*", str(text).upper())
    if match is None or match[2] not in _UNITS:
        raise InputError(f"memory: '{text}', expected a size such as 500MB or 2GB")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size < 10**6:
        raise InputError(f"memory: '{text}', expected at least 1MB")
    return size


@dataclass(frozen=True)
class Work:
    """Resolved settings of one evaluation. None of them changes a result."""

    memory: int
    threads: int
    kernel: str
    progress: bool

    @classmethod
    def of(cls, *, memory: int | None, threads: int | None, kernel: str, progress: bool) -> Work:
        """Fill in what was left open.

        Raises:
            InputError: threads or memory below 1, or an unknown kernel.
        """
        if kernel not in KERNELS:
            raise InputError(f"kernel: '{kernel}', expected one of {', '.join(KERNELS)}")
        if threads is not None and threads < 1:
            raise InputError(f"threads: {threads}, expected 1 or more")
        if memory is not None and memory < 1:
            raise InputError(f"memory: {memory}, expected 1 byte or more")
        if kernel == "auto":
            kernel = "numba" if importlib.util.find_spec("numba") else "numpy"
        return cls(memory or DEFAULT_MEMORY, threads or default_threads(), kernel, progress)

    def map(self, task: Callable[[int, int], T], blocks: list[tuple[int, int]]) -> list[T]:
        """``task(start, stop)`` of every block, in order, over the threads."""
        threads = min(self.threads, len(blocks))
        if threads < 2:
            return [task(*block) for block in self._watched(iter(blocks), len(blocks))]
        with ThreadPoolExecutor(threads) as pool:
            return list(self._watched(pool.map(lambda block: task(*block), blocks), len(blocks)))

    def blocks(self, n: int, bytes_an_item: int, most: int) -> list[tuple[int, int]]:
        """Split n items so that the blocks of all threads together fit the memory."""
        size = max(1, min(most, self.memory // max(1, self.threads * bytes_an_item), -(-n // self.threads)))
        return [(start, min(start + size, n)) for start in range(0, n, size)]

    def _watched(self, steps: Iterator[T], total: int) -> Iterator[T]:
        return steps


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, otherwise the cores of this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
