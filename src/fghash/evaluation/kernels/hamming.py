"""Tie groups of binary codes: count distances, sort nothing."""

from __future__ import annotations

import numpy as np

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.evaluation.kernels import hamming_numpy
from fghash.evaluation.kernels.hamming_numpy import Counter
from fghash.evaluation.ranking import Blocks, TieGroups, groups_of_histograms
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.work import Work


def hamming_blocks(queries: BinaryCodes, gallery: BinaryCodes, relevance: Relevance, work: Work) -> Blocks:
    """Tie groups by Hamming distance, for any block of queries.

    Raises:
        InputError: code lengths differ.
    """
    bits = gallery.bits_per_item
    if queries.bits_per_item != bits:
        raise InputError(f"bits: queries have {queries.bits_per_item}, the gallery {bits}, expected the same")
    count = _prepare(_in_order(gallery, relevance.order, work), bits, work)
    words = queries.words()

    def block(start: int, stop: int) -> TieGroups:
        total = np.zeros((stop - start, bits + 1), dtype=np.int32)
        relevant = np.zeros_like(total)
        count(words[start:stop], relevance.runs(start, stop), total, relevant)
        return groups_of_histograms(total, relevant, len(gallery), bits)

    return Blocks(block, 6 * 8 * (bits + 1) + 200 * min(bits + 1, relevance.most) + relevance.bytes_a_query)


def _in_order(gallery: BinaryCodes, order: np.ndarray, work: Work) -> np.ndarray:
    """The gallery's words (g, words) in this order, packed and moved by all threads."""
    packed = np.concatenate(work.share(lambda start, stop: gallery.words(start, stop), len(gallery)))
    ordered = np.empty_like(packed)

    def move(start: int, stop: int) -> None:
        np.take(packed, order[start:stop], axis=0, out=ordered[start:stop], mode="clip")

    work.share(move, len(gallery))
    return ordered


def _prepare(gallery: np.ndarray, bits: int, work: Work) -> Counter:
    if work.kernel == "numba":
        from fghash.evaluation.kernels import hamming_numba

        return hamming_numba.prepare(gallery, bits, work)
    if work.kernel == "torch":
        from fghash.evaluation.kernels import hamming_torch

        return hamming_torch.prepare(gallery, bits, work)
    return hamming_numpy.prepare(gallery, bits, work)
