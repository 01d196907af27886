"""Tie groups of quantized and real codes: only the relevant items are ranked, nothing is sorted whole."""

from __future__ import annotations

import numpy as np

from fghash.codes import QuantizedCodes, RealCodes
from fghash.evaluation.distances import distinct_rows, require_width
from fghash.evaluation.kernels import nearness_numpy
from fghash.evaluation.kernels.nearness_numpy import Counter
from fghash.evaluation.ranking import Blocks, TieGroups
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.work import Work


def nearness_blocks(
    queries: RealCodes, gallery: QuantizedCodes | RealCodes, relevance: Relevance, work: Work
) -> Blocks:
    """Tie groups that hold a relevant item, for any block of queries.

    Raises:
        InputError: queries of another width than the gallery's vectors.
    """
    require_width(queries, gallery)
    first, number = distinct_rows(gallery)
    multiplicity = np.bincount(number).astype(np.int32)
    distinct = gallery if len(first) == len(gallery) else gallery.take(first)
    count = _prepare(distinct, multiplicity, number[relevance.order], work)

    def block(start: int, stop: int) -> TieGroups:
        levels = count(queries.vectors[start:stop], relevance.runs(start, stop))
        offsets = np.cumsum([0, *(len(sizes) for _, sizes, _ in levels)])
        parts = [np.concatenate(part).astype(np.int32) for part in zip(*levels, strict=True)]
        return TieGroups(offsets, parts[0], parts[1], parts[2], None, len(gallery), gallery.bits_per_item)

    return Blocks(block, 40 * len(first) + 200 * relevance.most + relevance.bytes_a_query)


def _prepare(
    gallery: QuantizedCodes | RealCodes, multiplicity: np.ndarray, number: np.ndarray, work: Work
) -> Counter:
    if isinstance(gallery, QuantizedCodes) and work.device != "cpu":
        work = work.on_cpu()  # looking up tables: on a GPU five times as slow as the compiled kernel
    if work.kernel == "numba":
        from fghash.evaluation.kernels import nearness_numba

        return nearness_numba.prepare(gallery, multiplicity, number, work)
    if work.kernel == "torch":
        from fghash.evaluation.kernels import nearness_torch

        return nearness_torch.prepare(gallery, multiplicity, number, work)
    return nearness_numpy.prepare(gallery, multiplicity, number, work)
