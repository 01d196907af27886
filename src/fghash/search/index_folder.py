"""An index of codes: a folder with a manifest that names its files, their checksums and what made the codes.

A change writes new files first and the manifest last; whatever the manifest names is whole. The files of the
manifest before are deleted then. A search reads and checks everything that it uses.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes, concatenate
from fghash.codes.archives import save_arrays
from fghash.errors import InputError
from fghash.files import acquired, full_disk, replacing
from fghash.search.coded_items import CodedItems, arrays_of_items, load_items
from fghash.search.engines import STRUCTURES, Engine, Found, build_engine, load_engine, require_structure
from fghash.store.parsing import read_json

MANIFEST = "manifest.json"
VERSION = 1
UNKNOWN = -1  # label of an item of no known class
_KINDS = {kind.__name__: kind for kind in STRUCTURES}


@dataclass(frozen=True)
class Manifest:
    """What an index is.

    Args:
        kind: of the codes: ``BinaryCodes``, ``QuantizedCodes`` or ``RealCodes``.
        structure: ``flat``, ``ivf``, ``hnsw`` or ``exact``.
        bits: of an item.
        padded_bits: that faiss works on: ``bits`` of binary codes filled up to whole bytes.
        items: how many.
        files: by role (``items``, ``engine``, ``vectors``): name, bytes and SHA-256.
        facts: what made the codes (:class:`fghash.search.coded_items.CodedItems`), and ``protocol``.
        settings: ``lists`` and ``links``.
        vectors: what made the vectors for re-ranking: ``encoder``, ``run``, ``similarity``; empty without.
        generation: counts the changes.
        version: of this format.
    """

    kind: str
    structure: str
    bits: int
    padded_bits: int
    items: int
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, int | None] = field(default_factory=dict)
    vectors: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0
    version: int = VERSION

    @property
    def encoder(self) -> str:
        """Of the codes, by content; empty where it is not known."""
        return str(self.facts.get("encoder", ""))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the labels; empty where they are not known."""
        return tuple(str(name) for name in self.facts.get("class_names", ()))


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
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
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
        return _write(folder, manifest, items, engine)


def open_index(folder: Path) -> SearchIndex:
    """An index, checked against the checksums of its manifest.

    Raises:
        InputError: no index, or a damaged one.
    """
    manifest = read_manifest(folder)
    for role, about in manifest.files.items():
        _verify(folder, role, about)
    items = load_items(folder / manifest.files["items"]["name"])
    if type(items.codes).__name__ != manifest.kind or len(items) != manifest.items:
        raise _damaged(folder, "its items are not those of the manifest")
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


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"index: '{folder}' is not an index (no {MANIFEST}); fghash index makes one")
    try:
        values = read_json(path, limit=None)
        if values.get("version") != VERSION:
            raise _damaged(folder, f"version {values.get('version')!r}, expected {VERSION}")
        manifest = Manifest(**values)
        names = [str(about["name"]) for about in manifest.files.values()]
        sound = (
            manifest.kind in _KINDS
            and manifest.structure in STRUCTURES[_KINDS[manifest.kind]]
            and "items" in manifest.files
            and all(Path(name).name == name for name in names)
            and isinstance(manifest.facts, dict)
            and isinstance(manifest.settings, dict)
            and isinstance(manifest.vectors, dict)
            and type(manifest.generation) is int
        )
    except InputError as error:
        text = str(error)
        raise error if text.startswith("index:") else _damaged(folder, text) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, str(error)) from None
    if not sound:
        raise _damaged(folder, "a manifest that does not hold together")
    return manifest


def add_items(folder: Path, more: CodedItems) -> SearchIndex:
    """Add items, with ids that are not there yet, behind the others.

    Raises:
        InputError: codes of another kind, length, codebooks or encoder, ids that are there, or no vectors
            where the index has them.
    """
    with _changing(folder):
        index = open_index(folder)
        _require_same_making(index, more)
        there = [str(each) for each in more.ids if str(each) in index.positions]
        if there:
            raise InputError(f"--add: {len(there):,} ids are in '{folder}' already, the first: {there[0]}")
        try:
            codes = concatenate([index.items.codes, more.codes])
        except InputError as error:
            raise InputError(f"--add: {error} in '{folder}'") from None
        labels, names = _together(index, more)
        vectors = None
        if index.vectors is not None:
            assert more.vectors is not None
            joined = np.concatenate([np.asarray(index.vectors.vectors), more.vectors.vectors])
            vectors = RealCodes(joined, index.vectors.similarity)
        ids = np.concatenate([index.items.ids, more.ids])
        items = CodedItems(codes, ids, labels, vectors, {**index.manifest.facts, "class_names": list(names)})
        index.engine.add(more.codes)
        return _write(folder, replace(index.manifest, facts=items.facts), items, index.engine)


def remove_items(folder: Path, ids: Sequence[str]) -> SearchIndex:
    """Remove items by id; the structure is built again over the others.

    Raises:
        InputError: ids that are not there, or none would be left.
    """
    with _changing(folder):
        index = open_index(folder)
        absent = [each for each in ids if each not in index.positions]
        if absent:
            raise InputError(f"--remove: {len(absent):,} ids are not in '{folder}', the first: {absent[0]}")
        kept = np.ones(len(index.items), np.bool_)
        kept[[index.positions[each] for each in ids]] = False
        if not kept.any():
            raise InputError(f"--remove: all {len(kept):,} items, expected to leave one at least")
        items = index.items.take(kept)
        if index.vectors is not None:
            items = replace(items, vectors=index.vectors.take(kept))
        settings = {key: value for key, value in index.manifest.settings.items() if value is not None}
        if settings.get("lists", 0) > len(items):
            settings["lists"] = len(items)
        engine = build_engine(items.codes, index.manifest.structure, **settings)
        return _write(folder, index.manifest, items, engine)


# -- files ---------------------------------------------------------------------------------------------------


class _Mapped(RealCodes):
    """Vectors in a file: rows are read, and looked at, when they are taken."""

    def __post_init__(self) -> None:
        """Nothing is checked before it is read."""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
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
def _changing(folder: Path) -> Iterator[None]:
    """The same of an index that is there."""
    read_manifest(folder)
    with _locked(folder):
        yield


@contextmanager
def _making(folder: Path) -> Iterator[None]:
    """The same of a folder that is made; it goes if nothing comes of it."""
    with full_disk("--out", folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(folder):
                yield
        finally:
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, manifest: Manifest, items: CodedItems, engine: Engine) -> SearchIndex:
    """The files of the next generation, then the manifest; then those of the one before go."""
    generation = manifest.generation + 1
    files: dict[str, dict[str, Any]] = {}
    with full_disk("index", folder):
        plain = replace(items, vectors=None, facts={})
        path = folder / f"items.{generation}.npz"
        save_arrays(path, arrays_of_items(plain), compressed=False)
        files["items"] = _described(path)
        if engine.stored:
            path = folder / f"engine.{generation}.faiss"
            with replacing(path, "index") as temporary:
                _saved(engine, temporary)
            files["engine"] = _described(path)
        if items.vectors is not None:
            path = folder / f"vectors.{generation}.npy"
            with replacing(path, "index") as temporary, temporary.open("wb") as file:
                np.save(file, items.vectors.vectors, allow_pickle=False)
            files["vectors"] = _described(path)
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


def _described(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": _checksum(path)}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(folder: Path, role: str, about: Mapping[str, Any]) -> None:
    path = folder / str(about["name"])
    if not path.is_file():
        raise _damaged(folder, f"{path.name} is missing")
    size = path.stat().st_size
    if size != about.get("bytes"):
        raise _damaged(folder, f"{path.name} has {size:,} bytes, expected {about.get('bytes')}")
    if _checksum(path) != about.get("sha256"):
        raise _damaged(folder, f"{path.name} is not what was written (its checksum differs)")


def _damaged(folder: Path, reason: str) -> InputError:
    return InputError(f"index: '{folder}' is damaged: {reason}; build it again")


def _require_same_making(index: SearchIndex, more: CodedItems) -> None:
    encoder = str(more.facts.get("encoder", ""))
    if index.manifest.encoder and encoder and encoder != index.manifest.encoder:
        raise InputError(
            f"--add: codes of other weights (encoder {encoder}) than those in '{index.folder}' "
            f"({index.manifest.encoder})"
        )
    if index.vectors is not None:
        width = index.vectors.vectors.shape[1]
        if more.vectors is None or more.vectors.vectors.shape[1] != width:
            raise InputError(
                f"--add: no real vectors of {width} numbers, which '{index.folder}' has for re-ranking "
                "(fghash encode --vectors)"
            )


def _together(index: SearchIndex, more: CodedItems) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels of both, by the names of classes where both know them, and all names."""
    mine, theirs = index.items.labels, more.labels
    names = list(index.manifest.class_names)
    if mine is None and theirs is None:
        return None, tuple(names)
    if any(each is not None and each.ndim > 1 for each in (mine, theirs)):
        if mine is None or theirs is None or mine.shape[1:] != theirs.shape[1:]:
            raise InputError("--add: labels of several classes an item, expected them for all items, as many")
        return np.concatenate([mine, theirs]), tuple(names)
    own = [str(name) for name in more.facts.get("class_names", ())]
    if theirs is not None and own and own != names:
        for name in own:
            if name not in names:
                names.append(name)
        number = {i: names.index(name) for i, name in enumerate(own)}
        theirs = np.array([number.get(label, label) for label in theirs.tolist()], np.int64)
    return np.concatenate([_or_unknown(mine, len(index.items)), _or_unknown(theirs, len(more))]), tuple(names)


def _or_unknown(labels: np.ndarray | None, n: int) -> np.ndarray:
    return np.full(n, UNKNOWN, np.int64) if labels is None else labels
