"""What all indexes search: real vectors, codes and labels of a stored run's queries and gallery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fghash.api import load_run
from fghash.batch import Features
from fghash.codes import Codes, RealCodes, concatenate
from fghash.codes.real import unit_length
from fghash.errors import InputError
from fghash.store import RunFolder

_BLOCK = 8192  # items that are made and encoded at a time

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Growth:
    """How a gallery is made larger than it is.

    Args:
        items: how many there are to be; ``None``: as many as there are.
        jitter: of copies, in standard deviations of each dimension.
        seed: of the noise.
    """

    items: int | None = None
    jitter: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Bed:
    """Queries (q) and gallery (n): real vectors, codes and labels of both.

    Of the vectors (q, d) and (n, d) smaller squared distance is closer.
    """

    real_queries: Vectors
    real: Vectors
    query_codes: Codes
    codes: Codes
    query_labels: np.ndarray
    labels: np.ndarray

    def right(self, found: np.ndarray) -> np.ndarray:
        """Whether items (q, k) found for the first q queries, -1 for none, share a label with them."""
        labels = self.labels[np.maximum(found, 0)]
        own = self.query_labels[: len(found), None]
        shared = (labels * own).any(-1) if self.labels.ndim > 1 else labels == own
        return np.asarray(shared & (found >= 0))


def make_bed(
    run: Path,
    vectors: Path | None = None,
    *,
    bits: int | None = None,
    growth: Growth | None = None,
    dimensions: int | None = None,
    n_queries: int | None = None,
) -> Bed:
    """Vectors and codes of a run.

    Args:
        run: the folder of a finished run, whose codes are searched.
        vectors: of another run on the same data (``frozen``, say), whose real vectors are searched; by
            default those that ``run`` stores.
        bits: of the codes; by default the longest.
        growth: copies under noise beyond the gallery's own items, encoded by the run's method from
            ``vectors``.
        dimensions: of the principal directions of the vectors that are kept; by default all.
        n_queries: the first so many; by default all.

    Raises:
        InputError: no run, no real vectors, others' items, or a gallery that cannot grow.
    """
    bits = _bits(run, bits)
    coded = [RunFolder(run).read_codes(bits, "network", part) for part in ("queries", "gallery")]
    found = [_real(vectors or run, part) for part in ("queries", "gallery")]
    for (_, mine), (_, theirs) in zip(coded, found, strict=True):
        if not np.array_equal(mine, theirs):
            raise InputError(f"--vectors: '{vectors}' is of other items than '{run}', expected the same data")
    (query_codes, query_labels), (codes, labels) = coded
    (real_queries, _), (gallery, _) = found
    shown = slice(0, n_queries)
    prepare = _preparation(gallery, dimensions)
    real, codes = _grown(run, gallery, codes, growth or Growth(), prepare)
    return Bed(
        prepare(real_queries.vectors[shown]),
        real,
        query_codes.take(shown),
        codes,
        query_labels[shown],
        labels[np.arange(len(real)) % len(labels)],
    )


def _bits(run: Path, wanted: int | None) -> int:
    """Of the network's codes that the run stores."""
    stored = RunFolder(run).lengths()
    if not stored:
        raise InputError(f"--run: '{run}' is not the folder of a finished run")
    if wanted is not None and wanted not in stored:
        raise InputError(
            f"--bits: {wanted}, expected one of {', '.join(map(str, stored))}, which '{run}' has"
        )
    return stored[-1] if wanted is None else wanted


def _real(run: Path, part: str) -> tuple[RealCodes, np.ndarray]:
    """Real vectors of a run's queries or gallery: its embeddings, or its codes if they are real."""
    folder = RunFolder(run)
    codes, labels = folder.read_codes(_bits(run, None), "network", part)
    found = (codes, labels) if isinstance(codes, RealCodes) else folder.read_embeddings(part)
    if found is None:
        raise InputError(
            f"--vectors: '{run}' stores no real vectors, expected a run that does (method frozen, or "
            "--store_embeddings true)"
        )
    vectors, labels = found
    if vectors.similarity == "dot":
        raise InputError(f"--vectors: those of '{run}' are compared by dot product, expected cosine or l2")
    return vectors, labels


def _preparation(gallery: RealCodes, dimensions: int | None) -> Callable[[Vectors], Vectors]:
    """What is done to vectors so that smaller squared distance is closer: unit length under cosine."""
    width = gallery.vectors.shape[1]
    if dimensions is not None and not 1 <= dimensions <= width:
        raise InputError(f"--dimensions: {dimensions}, expected 1 to {width}, the vectors' width")
    unit = gallery.similarity == "cosine"
    first = unit_length(gallery.vectors) if unit else gallery.vectors
    mean, directions = first.mean(0), None
    if dimensions is not None:
        _, vectors = np.linalg.eigh(np.cov((first - mean).T.astype(np.float64)).reshape(width, width))
        directions = np.ascontiguousarray(vectors[:, ::-1][:, :dimensions], dtype=np.float32)

    def prepare(vectors: Vectors) -> Vectors:
        vectors = unit_length(vectors) if unit else vectors
        if directions is None:
            return np.ascontiguousarray(vectors, dtype=np.float32)
        return np.ascontiguousarray((vectors - mean) @ directions, dtype=np.float32)

    return prepare


def _grown(
    run: Path, gallery: RealCodes, codes: Codes, growth: Growth, prepare: Callable[[Vectors], Vectors]
) -> tuple[Vectors, Codes]:
    """The prepared vectors and codes of the gallery and, behind it, of copies under noise."""
    own = prepare(gallery.vectors)
    n = len(own)
    items = growth.items or n
    if items < n:
        raise InputError(f"--items: {items}, expected {n} (the gallery) or more")
    if items == n:
        return own, codes
    encode = _encoder(run, gallery.vectors.shape[1])
    random = np.random.default_rng(growth.seed)
    scale = growth.jitter * gallery.vectors.std(0)
    real, more = np.empty((items, own.shape[1]), np.float32), [codes]
    real[:n] = own
    for start in range(n, items, _BLOCK):
        place = np.arange(start, min(start + _BLOCK, items))
        noise = random.standard_normal((len(place), gallery.vectors.shape[1]), dtype=np.float32)
        copies = gallery.vectors[place % n] + scale * noise
        real[place] = prepare(copies)
        more.append(encode(copies).prefix(codes.bits_per_item))
    return real, concatenate(more)


def _encoder(run: Path, width: int) -> Callable[[Vectors], Codes]:
    """Codes of vectors, by the run's method."""
    method = load_run(run).method
    if method.reads.levels or method.backbone.width != width:
        raise InputError(
            f"--items: the method of '{run}' does not read vectors {width} wide, expected one that reads the "
            "network's pooled vectors, and --vectors of a frozen run on the same network"
        )

    def encode(vectors: Vectors) -> Codes:
        with torch.inference_mode():
            return method.encode(Features(torch.from_numpy(vectors)))

    return encode
