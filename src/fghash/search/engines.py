"""What finds neighbours among codes: faiss's indexes, filled with our codes and our codebooks.

Binary codes are padded with zeros to whole bytes, on both sides, so that distances stay what they are.
Quantized codes are searched exactly, by lookup tables of the learned codebooks: nothing is trained again, and
the distances are those of the evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes
from fghash.codes.real import unit_length
from fghash.errors import InputError
from fghash.optional import import_package

Found = tuple[np.ndarray, np.ndarray]  # positions (q, k), -1 for none, and distances (q, k)

STRUCTURES: Mapping[type, tuple[str, ...]] = {
    BinaryCodes: ("flat", "ivf", "hnsw"),
    QuantizedCodes: ("exact",),
    RealCodes: ("flat", "ivf", "hnsw"),
}
_EFFORT = {"ivf": 16, "hnsw": 64}
_PER_LIST = 39  # items, at least: what faiss wants to see for k-means
_LINKS = 16  # of a node of a graph


def import_faiss() -> Any:
    """faiss.

    Raises:
        InputError: it is not installed.
    """
    return import_package("faiss", "index", "search")


@dataclass
class Engine:
    """A faiss index over codes of one kind.

    Args:
        structure: ``flat``, ``ivf``, ``hnsw`` or ``exact``.
        index: faiss's.
        codes: kind of the codes.
        similarity: of quantized and real codes; empty for Hamming distance.
    """

    structure: str
    index: Any
    codes: type
    similarity: str = ""

    def search(self, queries: Codes, k: int, effort: int | None = None) -> Found:
        """The k nearest of each query, closest first.

        Args:
            queries: (q) binary codes, or real vectors for quantized and real galleries.
            k: how many.
            effort: lists that ``ivf`` looks into, candidates that ``hnsw`` keeps.
        """
        if effort is None:
            effort = _EFFORT.get(self.structure)
        if effort is not None:
            _set_effort(self.index, self.structure, max(effort, k if self.structure == "hnsw" else 1))
        if isinstance(queries, BinaryCodes):
            distances, positions = self.index.search(queries.packed(), k)
            return positions, distances
        assert isinstance(queries, RealCodes)
        distances, positions = self.index.search(_directed(queries.vectors, self.similarity), k)
        return positions, -distances if self.similarity in ("dot", "cosine") else distances

    def add(self, codes: Codes) -> None:
        """More items, behind those that are there."""
        if isinstance(codes, QuantizedCodes):
            self.index.add_sa_codes(_faiss_codes(codes))
        elif isinstance(codes, BinaryCodes):
            self.index.add(codes.packed())
        elif isinstance(codes, RealCodes):
            self.index.add(_directed(codes.vectors, codes.similarity))

    @property
    def stored(self) -> bool:
        """Whether it is worth a file: others are made of the codes at once."""
        return self.structure in _EFFORT

    def save(self, path: Path) -> None:
        """Write the faiss index."""
        faiss = import_faiss()
        (faiss.write_index_binary if self.codes is BinaryCodes else faiss.write_index)(self.index, str(path))


def build_engine(codes: Codes, structure: str, lists: int | None = None, links: int = _LINKS) -> Engine:
    """An index over the codes.

    Args:
        codes: (n) of the items.
        structure: one of ``STRUCTURES[type(codes)]``.
        lists: of ``ivf``; by default about 2 sqrt(n), with 39 items each at least.
        links: of a node of ``hnsw``.

    Raises:
        InputError: a structure that codes of this kind cannot have, or faiss is missing.
    """
    require_structure(type(codes), structure)
    similarity = "" if isinstance(codes, BinaryCodes) else str(codes.similarity)  # type: ignore[attr-defined]
    engine = Engine(structure, _MAKE[type(codes)](codes, structure, lists, links), type(codes), similarity)
    engine.add(codes)
    return engine


def load_engine(path: Path, structure: str, codes: Codes) -> Engine:
    """What :meth:`Engine.save` wrote, over these codes.

    Raises:
        InputError: faiss cannot read it, or it is of other items.
    """
    faiss = import_faiss()
    binary = isinstance(codes, BinaryCodes)
    try:
        index = (faiss.read_index_binary if binary else faiss.read_index)(str(path))
    except RuntimeError as error:
        raise InputError(f"index: cannot read '{path}' ({str(error).splitlines()[0][:200]})") from None
    if index.ntotal != len(codes):
        raise InputError(f"index: '{path}' has {index.ntotal:,} items, expected {len(codes):,}")
    return Engine(structure, index, type(codes), "" if binary else str(codes.similarity))  # type: ignore[attr-defined]


def require_structure(kind: type, structure: str) -> None:
    """Refuse what codes of this kind cannot have."""
    if structure not in STRUCTURES[kind]:
        raise InputError(
            f"--structure: '{structure}', expected {' or '.join(STRUCTURES[kind])} for {kind.__name__}"
        )


def _set_effort(index: Any, structure: str, effort: int) -> None:
    if structure == "ivf":
        index.nprobe = min(effort, index.nlist)
    elif structure == "hnsw":
        index.hnsw.efSearch = effort


def _lists(n: int, wanted: int | None) -> int:
    if wanted is not None:
        if not 1 <= wanted <= n:
            raise InputError(f"--lists: {wanted}, expected 1 to the {n:,} items")
        return wanted
    return max(1, int(min(2 * n**0.5, n / _PER_LIST)))


def _binary(codes: BinaryCodes, structure: str, lists: int | None, links: int) -> Any:
    faiss = import_faiss()
    width = 8 * -(-codes.bits_per_item // 8)
    if structure == "flat":
        return faiss.IndexBinaryFlat(width)
    if structure == "hnsw":
        return faiss.IndexBinaryHNSW(width, links)
    quantizer = faiss.IndexBinaryFlat(width)
    index = faiss.IndexBinaryIVF(quantizer, width, _lists(len(codes), lists))
    index.own_fields = True
    quantizer.this.disown()
    index.cp.min_points_per_centroid = 1  # few items are no fault to be warned of
    index.train(codes.packed())
    return index


def _real(codes: RealCodes, structure: str, lists: int | None, links: int) -> Any:
    faiss = import_faiss()
    metric = faiss.METRIC_L2 if codes.similarity == "l2" else faiss.METRIC_INNER_PRODUCT
    width = codes.vectors.shape[1]
    recipe = {"flat": "Flat", "hnsw": f"HNSW{links},Flat", "ivf": f"IVF{_lists(len(codes), lists)},Flat"}
    index = faiss.index_factory(width, recipe[structure], metric)
    if structure == "ivf":
        index.cp.min_points_per_centroid = 1
    index.train(_directed(codes.vectors, codes.similarity))
    return index


def _directed(vectors: np.ndarray, similarity: str) -> np.ndarray:
    """Of unit length where cosines are compared."""
    return np.ascontiguousarray(unit_length(vectors) if similarity == "cosine" else vectors, np.float32)


def _quantized(codes: QuantizedCodes, structure: str, lists: int | None, links: int) -> Any:
    """faiss's scan by lookup table, with the learned codebooks in place of trained ones.

    Unused codewords up to a power of two are zero. Sums of codewords under squared distance carry the
    squared length of what they stand for.
    """
    faiss = import_faiss()
    m, k, d = codes.codebooks.shape
    n_bits = _index_bits(k)
    metric = faiss.METRIC_INNER_PRODUCT if codes.similarity == "dot" else faiss.METRIC_L2
    books = np.zeros((m, 2**n_bits, d), np.float32)
    books[:, :k] = codes.codebooks
    if codes.structure == "product":
        index = faiss.IndexPQ(m * d, m, n_bits, metric)
        faiss.copy_array_to_vector(books.ravel(), index.pq.centroids)
    else:
        kinds = faiss.AdditiveQuantizer
        search = kinds.ST_LUT_nonorm if codes.similarity == "dot" else kinds.ST_norm_float
        index = faiss.IndexResidualQuantizer(d, m, n_bits, metric, search)
        faiss.copy_array_to_vector(books.ravel(), index.rq.codebooks)
        index.rq.is_trained = True
        index.rq.set_derived_values()
    index.is_trained = True
    return index


def _index_bits(words: int) -> int:
    return max(1, int(words - 1).bit_length())


def _faiss_codes(codes: QuantizedCodes) -> np.ndarray:
    """(n, bytes): the indices in as few bits as hold them, in little bit order; then the squared length."""
    n_bits = _index_bits(codes.codebooks.shape[1])
    shifts = np.arange(n_bits)
    bits = ((codes.indices[:, :, None].astype(np.int64) >> shifts) & 1).astype(np.uint8)
    bits = bits.reshape(len(codes), -1)
    if (codes.structure, codes.similarity) == ("additive", "l2"):
        words = enumerate(codes.indices.T)
        decoded = np.sum([codes.codebooks[book][index] for book, index in words], axis=0)
        norms = np.square(decoded, dtype=np.float32).sum(1, dtype=np.float32)
        tail = np.unpackbits(norms.astype("<f4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
        bits = np.concatenate([bits, tail], axis=1)
    return np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little"))


_MAKE: Mapping[type, Callable[[Any, str, int | None, int], Any]] = {
    BinaryCodes: _binary,
    QuantizedCodes: _quantized,
    RealCodes: _real,
}
