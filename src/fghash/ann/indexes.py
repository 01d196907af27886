"""The indexes: each is built over a bed, and searched at one or several settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fghash.ann.bed import Bed
from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.evaluation.neighbours import nearest
from fghash.search.engines import import_faiss

Search = Callable[[np.ndarray, int], np.ndarray]  # positions of queries (q,), k -> items (q, k), -1 for none
RERANKED = 100  # items that codes propose, to be ranked by their real vectors


@dataclass(frozen=True)
class Built:
    """A built index: its bytes, and a search for each setting by name (empty where there is one)."""

    n_bytes: int
    searches: Mapping[str, Search]


@dataclass(frozen=True)
class Kind:
    """An index by name: what it is, what it searches (``vectors``, ``codes`` or both), how it is built."""

    what: str
    searches: str
    build: Callable[[Bed], Built]
    binary: bool = False  # works on binary codes alone


# -- real vectors --------------------------------------------------------------------------------------------


def _factory(recipe: Callable[[int, int], str], settings: Mapping[str, Mapping[str, float]]) -> Any:
    """A builder of a faiss index from its description, of n items of d dimensions."""

    def build(bed: Bed) -> Built:
        faiss = import_faiss()
        n, d = bed.real.shape
        index = faiss.index_factory(d, recipe(n, d))
        if hasattr(index, "pq"):  # small galleries are no fault to be warned of
            index.pq.cp.min_points_per_centroid = 1
        if hasattr(index, "cp"):  # lists need no more; by default faiss takes 256, four times as long
            index.cp.max_points_per_centroid = 64
        index.train(bed.real)
        index.add(bed.real)

        current: Mapping[str, float] = {}
        parameters = faiss.ParameterSpace()

        def at(values: Mapping[str, float]) -> Search:
            def search(positions: np.ndarray, k: int) -> np.ndarray:
                nonlocal current
                if current is not values:  # setting it takes as long as a fast search
                    for name, value in values.items():
                        parameters.set_index_parameter(index, name, value)
                    current = values
                return np.asarray(index.search(bed.real_queries[positions], k)[1])

            return search

        return Built(_faiss_bytes(index), {name: at(values) for name, values in settings.items()})

    return build


def _lists(n: int) -> int:
    """Lists of an inverted file: the power of two next to 2 sqrt(n), with 39 items each at least."""
    wanted = max(1, min(2 * n**0.5, n / 39))
    return int(2 ** round(np.log2(wanted)))


def _parts(d: int, most: int) -> int:
    """The most parts of up to ``most`` that d dimensions can be cut into."""
    return max(count for count in range(1, most + 1) if d % count == 0)


def _faiss_bytes(index: Any, binary: bool = False) -> int:
    """What the index takes when it is written out, without writing it."""
    faiss = import_faiss()
    total = 0

    def count(data: bytes) -> int:
        nonlocal total
        total += len(data)
        return len(data)

    writer = faiss.PyCallbackIOWriter(count)
    (faiss.write_index_binary if binary else faiss.write_index)(index, writer)
    return total


def _tree(name: str) -> Callable[[Bed], Built]:
    def build(bed: Bed) -> Built:
        try:
            from sklearn import neighbors
        except ImportError:
            raise InputError("ann: needs the package scikit-learn (pip install 'fghash[search]')") from None
        tree = getattr(neighbors, name)(bed.real)
        n_bytes = sum(np.asarray(array).nbytes for array in tree.get_arrays())

        def search(positions: np.ndarray, k: int) -> np.ndarray:
            return np.asarray(tree.query(bed.real_queries[positions], k, return_distance=False))

        return Built(n_bytes, {"": search})

    return build


# -- codes ---------------------------------------------------------------------------------------------------


def _binary(
    make: Callable[[Any, int], Any], settings: Mapping[str, Callable[[Any], None]], rerank: bool = False
) -> Callable[[Bed], Built]:
    """A builder of a faiss binary index of so many bits."""

    def build(bed: Bed) -> Built:
        faiss = import_faiss()
        assert isinstance(bed.codes, BinaryCodes)
        assert isinstance(bed.query_codes, BinaryCodes)
        items, queries = bed.codes.packed(), bed.query_codes.packed()  # zeros fill up whole bytes
        index = make(faiss, 8 * items.shape[1])
        index.add(items)

        def at(apply: Callable[[Any], None]) -> Search:
            def search(positions: np.ndarray, k: int) -> np.ndarray:
                apply(index)
                return np.asarray(index.search(queries[positions], k)[1])

            return _reranked(bed, search) if rerank else search

        extra = bed.real.nbytes if rerank else 0
        return Built(_faiss_bytes(index, True) + extra, {name: at(apply) for name, apply in settings.items()})

    return build


def _reranked(bed: Bed, search: Search) -> Search:
    """The best by real vectors of those that codes propose."""

    def both(positions: np.ndarray, k: int) -> np.ndarray:
        proposed = search(positions, max(k, min(RERANKED, len(bed.real))))
        gaps = bed.real[proposed] - bed.real_queries[positions][:, None]
        distances = np.where(proposed >= 0, np.einsum("qkd,qkd->qk", gaps, gaps), np.inf)
        return np.take_along_axis(proposed, distances.argsort(1, kind="stable")[:, :k], 1)

    return both


def _multi_hash(faiss: Any, bits: int) -> Any:
    """Substrings of about log2(n) bits, as many as there are."""
    width = next(size for size in (16, 12, 8, 4) if bits // size >= 2 or size == 4)
    return faiss.IndexBinaryMultiHash(bits, bits // width, width)


def _flips(count: int) -> Callable[[Any], None]:
    return lambda index: setattr(index, "nflip", count)


def _effort(value: int) -> Callable[[Any], None]:
    return lambda index: setattr(index.hnsw, "efSearch", value)


def _as_it_is(index: Any) -> None:
    """Nothing to set."""


def _fghash(rerank: bool) -> Callable[[Bed], Built]:
    def build(bed: Bed) -> Built:
        def search(positions: np.ndarray, k: int) -> np.ndarray:
            return nearest(bed.query_codes.take(positions), bed.codes, k)[0]

        n_bytes = len(bed.codes) * bed.codes.bits_per_item // 8 + (bed.real.nbytes if rerank else 0)
        return Built(n_bytes, {"": _reranked(bed, search) if rerank else search})

    return build


_PROBES = {f"nprobe={n}": {"nprobe": n} for n in (1, 4, 16, 64)}
_EFFORTS = {f"efSearch={n}": {"efSearch": n} for n in (16, 64, 256)}

KINDS: dict[str, Kind] = {
    "linear": Kind("every vector, exact", "vectors", _factory(lambda n, d: "Flat", {"": {}})),
    "balltree": Kind("ball tree, exact (scikit-learn)", "vectors", _tree("BallTree")),
    "kdtree": Kind("k-d tree, exact (scikit-learn)", "vectors", _tree("KDTree")),
    "ivf_flat": Kind("inverted lists", "vectors", _factory(lambda n, d: f"IVF{_lists(n)},Flat", _PROBES)),
    "hnsw": Kind("graph", "vectors", _factory(lambda n, d: "HNSW32", _EFFORTS)),
    "ivf_pq": Kind(
        "inverted lists of product-quantized vectors", "vectors",
        _factory(lambda n, d: f"IVF{_lists(n)},PQ{_parts(d, 16)}x{8 if n >= 256 else 4}", _PROBES),
    ),
    "pq_fast_scan": Kind(
        "product-quantized vectors, 4 bits a part, in registers", "vectors",
        _factory(lambda n, d: f"PQ{_parts(d, 32)}x4fs", {"": {}}),
    ),
    "rabitq": Kind("a bit a dimension", "vectors", _factory(lambda n, d: "RaBitQ", {"": {}})),
    "binary_flat": Kind(
        "every code", "codes", _binary(lambda faiss, bits: faiss.IndexBinaryFlat(bits), {"": _as_it_is}), True
    ),
    "binary_flat_reranked": Kind(
        f"every code, the best {RERANKED} by their vectors", "both",
        _binary(lambda faiss, bits: faiss.IndexBinaryFlat(bits), {"": _as_it_is}, rerank=True), True,
    ),
    "multi_index_hashing": Kind(
        "tables of substrings of the codes", "codes",
        _binary(_multi_hash, {f"flips={n}": _flips(n) for n in (0, 1, 2)}), True,
    ),
    "binary_hnsw": Kind(
        "graph of codes", "codes",
        _binary(
            lambda faiss, bits: faiss.IndexBinaryHNSW(bits, 16),
            {f"efSearch={n}": _effort(n) for n in (16, 64, 256)},
        ), True,
    ),
    "codes": Kind("every code, by fghash", "codes", _fghash(rerank=False)),
    "codes_reranked": Kind(f"every code, the best {RERANKED} by their vectors", "both", _fghash(rerank=True)),
}  # fmt: skip


def chosen(names: list[str] | None, bed: Bed) -> Iterator[tuple[str, Kind]]:
    """The kinds of these names, or all that these codes can have; ``linear`` first, the others are its ratio.

    Raises:
        InputError: an unknown name, or one that needs binary codes.
    """
    binary = isinstance(bed.codes, BinaryCodes)
    for name in names or []:
        if name not in KINDS:
            raise InputError(f"--indexes: unknown index '{name}' (known: {', '.join(KINDS)})")
        if KINDS[name].binary and not binary:
            raise InputError(
                f"--indexes: {name} needs binary codes, the run's are {type(bed.codes).__name__}"
            )
    for name, kind in KINDS.items():
        if name == "linear" or (name in names if names else binary or not kind.binary):
            yield name, kind
