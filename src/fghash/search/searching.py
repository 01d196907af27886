"""Search an index for images: encode them as the index was encoded, find, rank again, tell in words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fghash.api import LoadedRun, find_run, load_run
from fghash.codes import BinaryCodes, Codes, RealCodes, concatenate
from fghash.errors import InputError
from fghash.search.coded_items import CodedItems
from fghash.search.image_lists import ImageSource
from fghash.search.index_folder import SearchIndex, class_in_words


@dataclass(frozen=True)
class Hit:
    """An item that was found: its id, distance, class in words, and position in the index."""

    id: str
    distance: float
    class_name: str
    position: int


@dataclass(frozen=True)
class Queries:
    """What is searched for.

    Args:
        ids: (q).
        codes: (q) as queries of the index.
        vectors: (q) for re-ranking, or ``None``.
        classes: (q) in words, empty where they are not known.
    """

    ids: tuple[str, ...]
    codes: Codes
    vectors: RealCodes | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """What was found: hits of each query, closest first, and the time of the search alone."""

    queries: Queries
    hits: tuple[tuple[Hit, ...], ...]
    seconds: float


def query_encoder(index: SearchIndex, run: str | Path | None = None) -> LoadedRun:
    """The run that encodes queries of an index: ``run``, or the one that the index was made with.

    Raises:
        InputError: it is not there, or its weights are not those of the index.
    """
    path = run or _known(index.manifest.facts, index.folder, "--run")
    loaded = load_run(find_run(path))
    if not index.manifest.encoder:
        raise InputError(
            f"index: '{index.folder}' does not say which weights made its codes, expected one that was built "
            "from a run or from fghash encode"
        )
    if loaded.encoder != index.manifest.encoder:
        raise InputError(
            f"--run: '{path}' has other weights (encoder {loaded.encoder}) than those that '{index.folder}' "
            f"was built with ({index.manifest.encoder})"
        )
    return loaded


def vector_encoder(index: SearchIndex, encoder: LoadedRun) -> LoadedRun:
    """The run whose real vectors the index has, for re-ranking.

    Raises:
        InputError: the index has none, or the run is gone or has other weights.
    """
    about = index.manifest.vectors
    if not about:
        raise InputError(
            f"--rerank: '{index.folder}' has no real vectors, expected an index built with --vectors"
        )
    if about.get("encoder") == encoder.encoder:
        return encoder
    path = _known(about, index.folder, "--rerank")
    loaded = load_run(find_run(path))
    if loaded.encoder != about.get("encoder"):
        raise InputError(
            f"--rerank: '{path}' has other weights than those of the vectors in '{index.folder}'"
        )
    return loaded


def _known(about: Any, folder: Path, flag: str) -> Path:
    path = Path(str(about.get("run", "")))
    if not about.get("run") or not path.is_dir():
        raise InputError(
            f"{flag}: the run that '{folder}' was made with is not at '{about.get('run', '')}' any more, "
            "expected --run with its folder or bundle"
        )
    return path


def encode_queries(
    index: SearchIndex, sources: Sequence[ImageSource], encoder: LoadedRun, vectors: LoadedRun | None = None
) -> Queries:
    """Images as queries of the index.

    Raises:
        InputError: an image that cannot be read.
    """
    codes, own = _encoded(encoder, sources, vectors is encoder)
    real = own
    if vectors is not None and vectors is not encoder:
        _, real = _encoded(vectors, sources, True)
    codes = at_length(codes, index.manifest.bits)
    ids = tuple(source.id for source in sources)
    return Queries(ids, codes, real, tuple(class_of(source, index) for source in sources))


def at_length(codes: Codes, bits: int) -> Codes:
    """Queries of codes that are cut to ``bits``; real vectors serve every length."""
    return codes.prefix(bits) if isinstance(codes, BinaryCodes) and codes.bits_per_item > bits else codes


def _encoded(
    run: LoadedRun, sources: Sequence[ImageSource], wants_vectors: bool
) -> tuple[Codes, RealCodes | None]:
    codes: list[Codes] = []
    vectors: list[RealCodes] = []
    size = run.config.batch_size
    for start in range(0, len(sources), size):
        images = np.stack([run.prepared(source.open()) for source in sources[start : start + size]])
        coded, real = run.encode_and_embed_batch(torch.from_numpy(images), queries=True)
        codes.append(coded)
        found = coded if isinstance(coded, RealCodes) else real
        if wants_vectors and found is not None:
            vectors.append(found)
    return concatenate(codes), concatenate(vectors) if vectors else None


def class_of(source: ImageSource, index: SearchIndex) -> str:
    """The class of a query: its label, or the folder that it lies in where the index has such a class."""
    names = index.manifest.class_names
    if source.label:
        by_number = source.label.isdecimal() and int(source.label) < len(names) and source.label not in names
        return names[int(source.label)] if by_number else source.label
    folder = Path(source.path).parent.name
    return folder if folder in names else ""


def stored_queries(index: SearchIndex, items: CodedItems) -> Queries:
    """Codes of a file as queries of the index.

    Raises:
        InputError: they were made by other weights.
    """
    encoder = str(items.facts.get("encoder", ""))
    if encoder and index.manifest.encoder and encoder != index.manifest.encoder:
        raise InputError(
            f"queries: codes of other weights (encoder {encoder}) than those of '{index.folder}' "
            f"({index.manifest.encoder})"
        )
    names = tuple(str(name) for name in items.facts.get("class_names", ())) or index.manifest.class_names
    classes = tuple(class_in_words(items.labels, names, i) for i in range(len(items)))
    return Queries(tuple(map(str, items.ids)), items.codes, items.vectors, classes)


def search(
    index: SearchIndex, queries: Queries, top: int = 10, rerank: int | None = None, effort: int | None = None
) -> Results:
    """The nearest items of every query.

    Args:
        index: that is opened.
        queries: to find.
        top: items of each query.
        rerank: so many by codes are ranked again by real vectors.
        effort: of structures that are not exact.

    Raises:
        InputError: codes that cannot be compared, or no vectors to rank by.
    """
    if rerank is not None and rerank < top:
        raise InputError(f"--rerank: {rerank}, expected {top} (--top) or more")
    if rerank is not None and queries.vectors is None:
        raise InputError("--rerank: the queries have no real vectors")
    started = time.perf_counter()
    found, distances = index.search(queries.codes, rerank or top, effort)
    if rerank is not None:
        assert queries.vectors is not None
        found, distances = index.rerank(found, queries.vectors, min(top, len(index.items)))
    seconds = time.perf_counter() - started
    name = lru_cache(maxsize=None)(index.class_of)
    ids = index.items.ids
    hits = tuple(
        tuple(
            Hit(str(ids[position]), float(distance), name(int(position)), int(position))
            for position, distance in zip(row, row_distances, strict=True)
            if position >= 0
        )
        for row, row_distances in zip(found.tolist(), distances.tolist(), strict=True)
    )
    return Results(queries, hits, seconds)
