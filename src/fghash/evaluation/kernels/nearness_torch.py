"""The torch kernel of :mod:`fghash.evaluation.kernels.nearness`, for GPUs and as a reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fghash.codes import QuantizedCodes, RealCodes
from fghash.evaluation.distances import NOISE, item_parts, lookup_tables, query_parts, scales
from fghash.evaluation.kernels.nearness_numpy import Counter, Levels
from fghash.evaluation.relevance import Runs
from fghash.evaluation.work import Work


def prepare(
    gallery: QuantizedCodes | RealCodes, multiplicity: np.ndarray, number: np.ndarray, work: Work
) -> Counter:
    """The counter of this gallery (see :mod:`fghash.evaluation.kernels.nearness`)."""
    device = torch.device(work.device)
    distances = _quantized(gallery, device) if isinstance(gallery, QuantizedCodes) else _real(gallery, device)
    weights = torch.from_numpy(multiplicity).to(device).double()

    def count(queries: np.ndarray, runs: Runs) -> list[Levels]:
        rows = distances(queries)
        chosen = (torch.from_numpy(runs.select(i, number)).to(device) for i in range(len(queries)))
        return [_levels(row, weights, relevant) for row, relevant in zip(rows, chosen, strict=True)]

    return count


def _levels(distance: Tensor, multiplicity: Tensor, relevant: Tensor) -> Levels:
    levels, counts = torch.unique(distance[relevant], return_counts=True)
    n = len(levels)
    place = torch.searchsorted(levels, distance)
    at_level = torch.cat([levels, levels.new_full((1,), torch.nan)])[place] == distance
    cell = place * 2 + at_level
    found = torch.bincount(cell, weights=multiplicity, minlength=2 * n + 2)[: 2 * n].reshape(n, 2)
    nearer = found.sum(dim=1).cumsum(0) - found[:, 1]
    return nearer.cpu().numpy(), found[:, 1].cpu().numpy(), counts.cpu().numpy()


def _quantized(gallery: QuantizedCodes, device: torch.device) -> Callable[[np.ndarray], Tensor]:
    indices = torch.from_numpy(gallery.indices.astype(np.int64)).to(device)
    item_part = torch.from_numpy(item_parts(gallery)).to(device)

    def distances(queries: np.ndarray) -> Tensor:
        tables = torch.from_numpy(lookup_tables(queries, gallery)).to(device)
        total = torch.from_numpy(query_parts(queries, gallery)).to(device)[:, None] + item_part
        for j in range(indices.shape[1]):
            total += tables[:, j, indices[:, j]]
        return total.float()

    return distances


def _real(gallery: RealCodes, device: torch.device) -> Callable[[np.ndarray], Tensor]:
    of_queries, of_items = scales(gallery)
    items = _prepared(torch.from_numpy(gallery.vectors).to(device), gallery.similarity) * of_items
    of_squares = items.square().sum(dim=1)

    def distances(queries: np.ndarray) -> Tensor:
        block = _prepared(torch.from_numpy(queries).to(device), gallery.similarity) * of_queries
        squares = block.square().sum(dim=1)[:, None]
        found, terms = -(block @ items.T), squares.sqrt() * of_squares.sqrt()
        if gallery.similarity == "l2":
            terms = squares + of_squares
            found = terms + 2 * found
        return torch.where(found.abs() <= NOISE * terms, 0.0, found).float()

    return distances


def _prepared(vectors: Tensor, similarity: str) -> Tensor:
    vectors = vectors.double()
    if similarity != "cosine":
        return vectors
    norms = vectors.square().sum(dim=1, keepdim=True).sqrt()
    return vectors / torch.where(norms > 0, norms, 1.0)
