"""How much a kernel may use: memory, threads, device, which implementation, and whether to show progress."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from fghash.errors import InputError

T = TypeVar("T")
DEFAULT_MEMORY = 256 * 10**6
KERNELS = ("auto", "numba", "numpy", "torch")
_WORTH_A_THREAD = 1 << 17  # items
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_memory(text: str | int) -> int:
    """Bytes of "2GB", "500 MB", "1.5GiB" or a number.

    Raises:
        InputError: anything else, or less than 1 MB.

    >>> parse_memory("2GB"), parse_memory("1.5 GiB")
    (2000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?\s*", str(text).upper())
    if match is None:
        raise InputError(f"memory: '{text}', expected a size such as 500MB or 2GB")
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2]])
    if size < 10**6:
        raise InputError(f"memory: '{text}', expected at least 1MB")
    return size


@dataclass(frozen=True)
class Work:
    """Resolved settings of one evaluation. None of them changes a result."""

    memory: int = DEFAULT_MEMORY
    threads: int = 1
    kernel: str = "numpy"
    device: str = "cpu"
    progress: bool = False

    @classmethod
    def of(
        cls,
        memory: int | None = None,
        threads: int | None = None,
        kernel: str = "auto",
        device: str | None = None,
        progress: bool = False,
    ) -> Work:
        """Fill in what was left open: numba where it can be imported, all threads; a device means torch.

        Raises:
            InputError: threads or memory below 1, an unknown kernel, one that is not installed, or no such
            device.
        """
        for name, value in (("threads", threads), ("memory", memory)):
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"{name}: {value!r}, expected a whole number of 1 or more")
        kernel = _kernel(kernel, device)
        device = _device("cpu" if device is None else device) if kernel == "torch" else "cpu"
        threads = 1 if kernel == "torch" and device == "cpu" else threads or default_threads()
        return cls(memory or DEFAULT_MEMORY, threads, kernel, device, progress)

    @property
    def most_queries(self) -> int:
        """Queries of one block at most: a GPU or the progress bar wants no more."""
        return 1024 if self.kernel == "torch" else 8192

    def blocks(self, n: int, bytes_an_item: int) -> list[tuple[int, int]]:
        """Split n queries so that the blocks of all threads together fit the memory.

        As few blocks as can be, the same number for every thread: what comes after counting is Python, and
        then one thread waits for the other.
        """
        fitting = self.memory // max(1, self.threads * bytes_an_item)
        rounds = -(-n // (self.threads * max(1, min(self.most_queries, fitting))))
        size = max(1, min(fitting, -(-n // (self.threads * rounds))))
        size += size % 2 if size < fitting else -(size % 2) if size > 1 else 0  # kernels like pairs
        return [(start, min(start + size, n)) for start in range(0, n, size)]

    def map(self, task: Callable[[int, int], T], blocks: list[tuple[int, int]]) -> list[T]:
        """``task(start, stop)`` of every block, in order, over the threads."""
        if min(self.threads, len(blocks)) < 2:
            return list(self._watched((task(*block) for block in blocks), len(blocks)))
        found = _pool(self.threads).map(lambda block: task(*block), blocks)
        return list(self._watched(found, len(blocks)))

    def on_cpu(self) -> Work:
        """The same, with the fastest kernel of the CPU."""
        return replace(self, kernel="numpy" if _without_numba() else "numba", device="cpu")

    def share(self, task: Callable[[int, int], T], n: int, least: int = _WORTH_A_THREAD) -> list[T]:
        """``task(start, stop)`` of n items, a part of ``least`` or more for each thread."""
        size = max(least, -(-n // self.threads))
        parts = [(start, min(start + size, n)) for start in range(0, n, size)]
        return replace(self, progress=False).map(task, parts)

    def _watched(self, steps: Iterator[T], total: int) -> Iterator[T]:
        """The same steps, with a bar on the error stream if they take longer than a second."""
        if not self.progress:
            yield from steps
            return
        from rich.console import Console
        from rich.progress import Progress

        begun = time.monotonic()
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("evaluating", total=total, visible=False)
            for step in steps:
                bar.update(task, advance=1, visible=time.monotonic() - begun > 1)
                yield step


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for the next evaluation: starting them costs as much as a small one."""
    return ThreadPoolExecutor(threads, "fghash-evaluate")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def _kernel(kernel: str, device: str | None) -> str:
    if kernel not in KERNELS or (device is not None and kernel not in ("auto", "torch")):
        allowed = ", ".join(KERNELS) if device is None else f"auto or torch with device '{device}'"
        raise InputError(f"kernel: '{kernel}', expected {allowed}")
    if kernel == "auto" and device is not None:
        return "torch"
    if kernel not in ("auto", "numba"):
        return kernel
    reason = _without_numba()
    if reason is None:
        return "numba"
    if kernel == "auto":
        return "numpy"
    raise InputError(f"kernel: 'numba', {reason}; expected auto or numpy")


def _without_numba() -> str | None:
    """Why numba's kernels cannot be used, ``None`` if they can."""
    try:
        import numba
    except ImportError as error:
        return f"which cannot be imported ({error})"
    return (
        "whose compiler is switched off (NUMBA_DISABLE_JIT)"
        if getattr(numba.config, "DISABLE_JIT", 0)
        else None
    )


def _device(name: str) -> str:
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError):
        raise InputError(f"device: '{name}', which torch cannot use here; expected cpu or cuda") from None
    return name


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, otherwise the cores of this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
