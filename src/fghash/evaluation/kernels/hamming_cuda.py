"""The GPU kernel of :mod:`hamming`: histograms in shared memory, of ``hamming.cu``.

A pair of codes costs its
exclusive or, its count of ones and one addition; the relevant items, few and contiguous, are counted again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fghash.evaluation.kernels.hamming_numpy import Counter
from fghash.evaluation.relevance import Runs
from fghash.nvrtc import kernel

MOST_BITS = 2048
_SOURCE = Path(__file__).with_name("hamming.cu")
_STATIC = 48 * 1024  # bytes of shared memory that any kernel may have
_BLOCKS = 24  # for each multiprocessor, which runs some at once: the last ones then end together


class Plan(NamedTuple):
    """How codes of ``bits`` are counted: ``words`` of 32 bits, ``threads`` of a block, bytes of a count."""

    bits: int
    words: int
    threads: int
    count_bytes: int

    @classmethod
    def of(cls, bits: int) -> Plan:
        """The most threads whose counts fit; counts of two bytes where those of four do not."""
        words = -(-bits // 32)
        for threads, count_bytes in ((128, 4), (64, 4), (32, 4), (32, 2)):
            plan = cls(bits, words, threads, count_bytes)
            if plan.shared_bytes <= _STATIC:
                break
        return plan

    @property
    def shared_bytes(self) -> int:
        """Of a block: a tile of as many codes as threads, and the counts."""
        return self.threads * (4 * self.words + self.count_bytes * (self.bits + 1))

    @property
    def most_items(self) -> int:
        """That a block may count."""
        return int(2 ** (8 * self.count_bytes - 1) - 1)

    @property
    def source(self) -> str:
        """The text to compile."""
        count = {2: "unsigned short", 4: "unsigned int"}[self.count_bytes]
        unroll = 8 if self.words <= 8 else 1
        values = {"BITS": self.bits, "WORDS": self.words, "THREADS": self.threads, "COUNT": count}
        lines = [f"#define {name} {value}" for name, value in {**values, "UNROLL": unroll}.items()]
        return "\n".join([*lines, _SOURCE.read_text(encoding="utf-8")])


class Compiled(NamedTuple):
    """The two kernels of a code length on a device."""

    plan: Plan
    count_all: Any
    count_runs: Any


def compiled(bits: int, device: torch.device) -> Compiled:
    """Compile for a device.

    Raises:
        NoKernel: this build of PyTorch cannot.
    """
    plan = Plan.of(bits)
    every = kernel(plan.source, "count_all", device, plan.shared_bytes)
    return Compiled(plan, every, kernel(plan.source, "count_runs", device))


def prepare(gallery: np.ndarray, bits: int, device: torch.device) -> Counter:
    """The counter of this gallery, of (g, words) uint64, on ``device``.

    Raises:
        NoKernel: this build of PyTorch cannot compile it.
    """
    kernels = compiled(bits, device)
    items = _words(gallery, kernels.plan.words, device)

    def count(queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray) -> None:
        with torch.cuda.device(device):
            block = _words(queries, kernels.plan.words, device)
            every = _count_all(kernels, block, items)
            among = _count_runs(kernels, block, items, runs)
            total[:], relevant[:] = every.cpu().numpy(), among.cpu().numpy()

    return count


def _words(codes: np.ndarray, n_words: int, device: torch.device) -> Tensor:
    """(n, n_words) int32 on the device; the unused half of a last uint64 stays behind."""
    halves = codes.view(np.int32)[:, :n_words]
    return torch.from_numpy(np.ascontiguousarray(halves)).to(device)


def _count_all(kernels: Compiled, queries: Tensor, items: Tensor) -> Tensor:
    plan, n_queries, n_items = kernels.plan, len(queries), len(items)
    total = torch.zeros((n_queries, plan.bits + 1), dtype=torch.int32, device=queries.device)
    blocks = -(-n_queries // plan.threads)
    wanted = _BLOCKS * torch.cuda.get_device_properties(queries.device).multi_processor_count
    share = min(plan.most_items, max(-(-n_items * blocks // wanted), 32 * plan.threads))
    grid = (blocks, -(-n_items // share), 1)
    arguments = [queries, n_queries, items, n_items, share, total]
    kernels.count_all(grid, (plan.threads, 1, 1), arguments, shared_mem=plan.shared_bytes)
    return total


def _count_runs(kernels: Compiled, queries: Tensor, items: Tensor, runs: Runs) -> Tensor:
    relevant = torch.empty((len(queries), kernels.plan.bits + 1), dtype=torch.int32, device=queries.device)
    of_runs = [torch.from_numpy(each.astype(np.int32)).to(queries.device) for each in runs]
    arguments = [queries, items, *of_runs, relevant]
    kernels.count_runs((len(queries), 1, 1), (256, 1, 1), arguments, shared_mem=4 * (kernels.plan.bits + 1))
    return relevant
