"""An index of codes: a folder with a manifest that names its files, their checksums and what made the codes.

A change writes new files first and the manifest last; whatever the manifest names is whole. The files of the
manifest before are deleted then. A search reads and checks everything that it uses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes
from fghash.codes.archives import save_arrays
from fghash.errors import InputError
from fghash.files import acquired, full_disk, is_taken, replacing
from fghash.search.coded_items import CodedItems, arrays_of_items, load_items
from fghash.search.engines import STRUCTURES, Engine, Found, build_engine, load_engine, require_structure
from fghash.search.index_manifest import MANIFEST, Manifest, damaged, described, read_manifest, verify

UNKNOWN = -1  # label of an item of no known class


@dataclass(frozen=True)
class SearchIndex:
    """An index that is opened: its folder, manifest, items, and vectors (n, d) if it has them."""

    folder: Path
    manifest: Manifest
    items: CodedItems
    engine: Engine
    vectors: RealCodes | None = None

    def search(self, queries: Codes, k: int, effort: int | None = None) -> Found:
        """Positions (q, k) and distances of the nearest items, closest first; -1 where there are fewer.

        Raises:
            InputError: codes of another kind or length.
        """
        self._require_comparable(queries)
        return self.engine.search(queries, min(k, len(self.items)), effort)

    def rerank(self, found: np.ndarray, queries: RealCodes, k: int) -> Found:
        """The k best of the found items by their real vectors.

        Raises:
            InputError: the index has no vectors, or they are of another width.
        """
        if self.vectors is None:
            raise InputError(
                f"--rerank: '{self.folder}' has no real vectors, expected an index built with --vectors"
            )
        order, distances = np.full((len(found), k), -1, np.int64), np.full((len(found), k), np.inf)
        for i, row in enumerate(found):
            proposed = np.sort(row[row >= 0])
            gaps = _distances(queries.vectors[i], self.vectors.take(proposed))
            best = gaps.argsort(kind="stable")[:k]
            order[i, : len(best)], distances[i, : len(best)] = proposed[best], gaps[best]
        return order, distances

    def class_of(self, position: int) -> str:
        """The class of an item in words; empty where it is not known."""
        return class_in_words(self.items.labels, self.manifest.class_names, position)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Of the items by id."""
        return {str(name): position for position, name in enumerate(self.items.ids)}

    def _require_comparable(self, queries: Codes) -> None:
        codes = self.items.codes
        if isinstance(codes, BinaryCodes):
            if not isinstance(queries, BinaryCodes) or queries.bits_per_item != codes.bits_per_item:
                raise InputError(
                    f"queries: {type(queries).__name__} of {queries.bits_per_item} bits, expected binary "
                    f"codes of {codes.bits_per_item} bits as in '{self.folder}'"
                )
            return
        width = codes.dimensions if isinstance(codes, QuantizedCodes) else codes.vectors.shape[1]  # type: ignore[attr-defined]
        if not isinstance(queries, RealCodes) or queries.vectors.shape[1] != width:
            raise InputError(
                f"queries: {type(queries).__name__}, expected real vectors of {width} numbers as in "
                f"'{self.folder}' (fghash encode --queries)"
            )


def _distances(query: np.ndarray, gallery: RealCodes) -> np.ndarray:
    """Of one vector (d,) to all of a gallery, as faiss gives them for exact search."""
    vectors, similarity = gallery.vectors, gallery.similarity
    if query.shape != vectors.shape[1:]:
        raise InputError(f"--rerank: queries of {len(query)} numbers, expected {vectors.shape[1]}")
    if similarity == "l2":
        return np.asarray(np.square(vectors - query).sum(1))
    products = vectors @ query
    if similarity == "cosine":
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        products = products / np.maximum(lengths, 1e-12)
    return np.asarray(-products)


def class_in_words(labels: np.ndarray | None, names: Sequence[str], position: int) -> str:
    """The classes of an item: names where they are known, else numbers."""
    if labels is None:
        return ""
    own = np.flatnonzero(labels[position]) if labels.ndim > 1 else [int(labels[position])]
    known = [int(label) for label in own if int(label) != UNKNOWN]
    return ", ".join(names[label] if 0 <= label < len(names) else str(label) for label in known)


def build_index(
    folder: Path,
    items: CodedItems,
    structure: str | None = None,
    *,
    lists: int | None = None,
    links: int = 16,
    vectors: Mapping[str, Any] | None = None,
) -> SearchIndex:
    """Index the items in a new folder.

    Args:
        folder: that is not there, or is empty.
        items: with the vectors for re-ranking, if any.
        structure: by default the exact one of the kind of codes.
        lists: of ``ivf``.
        links: of ``hnsw``.
        vectors: what made the vectors, where that was not what made the codes: ``encoder`` and ``run``.

    Raises:
        InputError: a folder that holds something, a structure that does not suit, or no space.
    """
    if is_taken(folder):
        raise InputError(
            f"--out: '{folder}' is there already, expected a new folder (or fghash index with --add)"
        )
    structure = structure or STRUCTURES[type(items.codes)][0]
    require_structure(type(items.codes), structure)
    if not len(items):
        raise InputError("index: no items, expected at least one")
    with _making(folder):
        engine = build_engine(items.codes, structure, lists, links)
        about: dict[str, Any] = {}
        if items.vectors is not None:
            own = {key: items.facts.get(key, "") for key in ("encoder", "run")}
            about = {**own, **(vectors or {}), "similarity": items.vectors.similarity}
        codes = items.codes
        bits = codes.bits_per_item
        manifest = Manifest(
            kind=type(codes).__name__,
            structure=structure,
            bits=bits,
            padded_bits=8 * -(-bits // 8) if isinstance(codes, BinaryCodes) else bits,
            items=len(items),
            files={},
            facts=items.facts,
            settings={"lists": lists, "links": links},
            vectors=about,
        )
        return write_index(folder, manifest, items, engine)


def open_index(folder: Path) -> SearchIndex:
    """An index, checked against the checksums of its manifest.

    Raises:
        InputError: no index, or a damaged one.
    """
    manifest = read_manifest(folder)
    try:
        return _opened(folder, manifest)
    except InputError:
        later = read_manifest(folder)
        if later.generation == manifest.generation:
            raise
    return _opened(folder, later)  # another process has changed it meanwhile


def _opened(folder: Path, manifest: Manifest) -> SearchIndex:
    for about in manifest.files.values():
        verify(folder, about)
    items = load_items(folder / manifest.files["items"]["name"])
    if type(items.codes).__name__ != manifest.kind or len(items) != manifest.items:
        raise damaged(folder, "its items are not those of the manifest")
    items = replace(items, facts=manifest.facts)
    vectors = None
    if "vectors" in manifest.files:
        values = np.load(folder / manifest.files["vectors"]["name"], mmap_mode="r", allow_pickle=False)
        vectors = _Mapped(values, str(manifest.vectors["similarity"]))
    lists, links = manifest.settings.get("lists"), manifest.settings.get("links") or 16
    if "engine" in manifest.files:
        engine = load_engine(folder / manifest.files["engine"]["name"], manifest.structure, items.codes)
    else:
        engine = build_engine(items.codes, manifest.structure, lists, links)
    return SearchIndex(folder, manifest, items, engine, vectors)


# -- files ---------------------------------------------------------------------------------------------------


class _Mapped(RealCodes):
    """Vectors in a file: rows are read, and looked at, when they are taken."""

    def __post_init__(self) -> None:
        """Nothing is checked before it is read."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Context in which no other process changes the index."""
    try:
        lock = acquired(folder / ".lock")
    except Timeout:
        raise InputError(f"index: another process is changing '{folder}'") from None
    except OSError as error:
        raise InputError(f"index: cannot write '{folder}' ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _making(folder: Path) -> Iterator[None]:
    """The same of a folder that is made; it goes if nothing comes of it."""
    with full_disk("--out", folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(folder):
                yield
        finally:
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder, ignore_errors=True)


def write_index(folder: Path, manifest: Manifest, items: CodedItems, engine: Engine) -> SearchIndex:
    """Write the files of the next generation, then the manifest; then those of the one before go.

    Raises:
        InputError: no space.
    """
    generation = manifest.generation + 1
    files: dict[str, dict[str, Any]] = {}
    with full_disk("index", folder):
        plain = replace(items, vectors=None, facts={})
        path = folder / f"items.{generation}.npz"
        save_arrays(path, arrays_of_items(plain), compressed=False, argument="index")
        files["items"] = described(path)
        if engine.stored:
            path = folder / f"engine.{generation}.faiss"
            with replacing(path, "index") as temporary:
                _saved(engine, temporary)
            files["engine"] = described(path)
        if items.vectors is not None:
            path = folder / f"vectors.{generation}.npy"
            with replacing(path, "index") as temporary, temporary.open("wb") as file:
                np.save(file, items.vectors.vectors, allow_pickle=False)
            files["vectors"] = described(path)
        manifest = replace(manifest, files=files, generation=generation, items=len(items))
        with replacing(folder / MANIFEST, "index") as temporary:
            temporary.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    named = {MANIFEST, ".lock", *(about["name"] for about in files.values())}
    for path in folder.iterdir():
        if path.name not in named and path.is_file():
            path.unlink()
    return SearchIndex(folder, manifest, items, engine, items.vectors)


def _saved(engine: Engine, path: Path) -> None:
    """What faiss says of a full disk, as the system says it."""
    try:
        engine.save(path)
    except RuntimeError as error:
        raise OSError(28, "No space left on device") from error
