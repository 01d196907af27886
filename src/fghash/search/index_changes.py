"""Add items to an index, and remove some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fghash.codes import RealCodes, concatenate
from fghash.errors import InputError
from fghash.search.coded_items import CodedItems
from fghash.search.engines import build_engine
from fghash.search.index_folder import UNKNOWN, SearchIndex, locked, open_index, write_index
from fghash.search.index_manifest import read_manifest


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
        facts = {**index.manifest.facts, "class_names": list(names), "paths": _paths(index, more)}
        items = CodedItems(codes, ids, labels, vectors, facts)
        index.engine.add(more.codes)
        return write_index(folder, replace(index.manifest, facts=items.facts), items, index.engine)


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
        return write_index(folder, index.manifest, items, engine)


def _paths(index: SearchIndex, more: CodedItems) -> dict[str, str]:
    """Where images of items are that do not lie below the index's own folder, by id."""
    known = dict(index.manifest.facts.get("paths", {}))
    folder = str(more.facts.get("folder", ""))
    if not folder:
        return known
    own = more.facts.get("paths", {})
    return known | {name: str(Path(folder) / own.get(name, name)) for name in map(str, more.ids)}


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Context in which no other process changes an index that is there."""
    read_manifest(folder)
    with locked(folder):
        yield


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
