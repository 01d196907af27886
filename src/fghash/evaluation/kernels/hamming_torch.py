"""The torch kernel of :mod:`hamming`: on a GPU that of :mod:`hamming_cuda`, elsewhere products of signs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fghash.evaluation.kernels import hamming_cuda
from fghash.evaluation.kernels.hamming_numpy import Counter
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work
from fghash.layers.precision import full_precision
from fghash.nvrtc import NoKernel, tell


def prepare(gallery: np.ndarray, bits: int, work: Work) -> Counter:
    """The counter of this gallery, of (g, words) uint64."""
    device = torch.device(work.device)
    if device.type == "cuda" and bits <= hamming_cuda.MOST_BITS:
        try:
            return hamming_cuda.prepare(gallery, bits, device)
        except NoKernel as error:
            tell(device, "counting with matrix products", str(error))
    return _products(gallery, bits, work, device)


def _products(gallery: np.ndarray, bits: int, work: Work, device: torch.device) -> Counter:
    packed = _packed(gallery, device)
    block = max(1, work.memory // (work.threads * 4 * (bits + 16 * work.most_queries)))

    def count(queries: np.ndarray, runs: Runs, total: np.ndarray, relevant: np.ndarray) -> None:
        signs = _signs(_packed(queries, device), bits)
        counts = torch.zeros(len(queries) * 2 * (bits + 1), dtype=torch.int64, device=device)
        for start in range(0, len(packed), block):
            part = _signs(packed[start : start + block], bits)
            with full_precision(signs):
                distance = ((bits - signs @ part.T) / 2).long()
            inside = _inside(runs, start, len(part), len(queries), device)
            counts += torch.bincount(_cell(distance, inside, bits).flatten(), minlength=len(counts))
        table = counts.reshape(len(queries), 2, bits + 1).cpu().numpy()
        total[:], relevant[:] = table.sum(axis=1), table[:, 1]

    return count


def _packed(words: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(words.view(np.uint8)).to(device)


def _signs(packed: Tensor, bits: int) -> Tensor:
    """(n, bits) of -1.0 and +1.0. Their products are whole numbers, which float32 sums exactly."""
    shifts = torch.arange(8, device=packed.device, dtype=torch.uint8)
    ones = (packed[:, :, None] >> shifts) & 1
    return ones.flatten(1)[:, :bits].float() * 2 - 1


def _cell(distance: Tensor, inside: Tensor, bits: int) -> Tensor:
    """Position in the flat (queries, relevant?, distance) table."""
    query = torch.arange(len(distance), device=distance.device)[:, None]
    return (query * 2 + inside) * (bits + 1) + distance


def _inside(runs: Runs, start: int, length: int, n_queries: int, device: torch.device) -> Tensor:
    """1 where an item of [start, start + length) lies in a run of the query, else 0: (queries, length)."""
    query = torch.from_numpy(np.repeat(np.arange(n_queries), np.diff(runs.offsets))).to(device)
    change = torch.zeros(n_queries, length + 1, dtype=torch.int32, device=device)
    for edges, step in ((runs.starts, 1), (runs.stops, -1)):
        place = torch.from_numpy(np.clip(edges - start, 0, length)).to(device)
        change.index_put_(
            (query, place), torch.tensor(step, dtype=torch.int32, device=device), accumulate=True
        )
    return change.cumsum(dim=1)[:, :length]
