"""Queries that are trained on or in the gallery: as the same file, or with the same content."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fghash.data.entries import DataWarning
from fghash.data.items import Files, Items, Splits
from fghash.display import harmless
from fghash.errors import InputError

FileId = tuple[int, int]  # device and inode: the same for every name, link and path of a file


def refuse_same_files(splits: Splits) -> None:
    """No query is a file of train or gallery under whatever name or link, and no split has a file twice.

    Raises:
        InputError: naming the two.
    """
    *others, (_, queries) = splits.parts()
    known: dict[FileId, str] = {}
    for split, items in others:
        known |= _unique(split, items)
    for identity, name in _unique("query", queries).items():
        if identity in known:
            raise InputError(
                f"data: query {harmless(name)} is the same file as {harmless(known[identity])} of train or "
                "gallery, expected other images"
            )


def _unique(split: str, items: Items) -> dict[FileId, str]:
    found: dict[FileId, str] = {}
    for name, identity, _ in _files(items):
        if identity in found:
            raise InputError(
                f"data: {harmless(name)} is the same file as {harmless(found[identity])}, both in {split}"
            )
        found[identity] = name
    return found


def queries_in_gallery(splits: Splits) -> int:
    """Number of queries whose file has the same bytes as one of the gallery; a warning if there are any.

    Files of equal size are read and hashed, no others.
    """
    by_size: dict[int, list[Path]] = defaultdict(list)
    for name, _, size in _files(splits.gallery):
        by_size[size].append(_path(splits.gallery, name))
    hashed: dict[int, set[bytes]] = {}
    doubles = []
    for name, _, size in _files(splits.query):
        if size and size in by_size:
            if size not in hashed:
                hashed[size] = {_digest(path) for path in by_size[size]}
            if _digest(_path(splits.query, name)) in hashed[size]:
                doubles.append(name)
    if doubles:
        warnings.warn(
            f"{len(doubles):,} of {len(splits.query):,} queries have the same content as an image of the "
            f"gallery, the first is {harmless(doubles[0])} (fghash data check lists them)",
            DataWarning,
            stacklevel=2,
        )
    return len(doubles)


def truncated(items: Items) -> int:
    """Number of JPEG files without their end marker."""
    return sum(_lacks_end(_path(items, name)) for name, _, _ in _files(items))


def _lacks_end(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(-min(64, path.stat().st_size), os.SEEK_END)
        return b"\xff\xd9" not in file.read()


def _files(items: Items) -> Iterator[tuple[str, FileId, int]]:
    """Name, identity and size of every item that is a file and there."""
    if not isinstance(items.source, Files):
        return
    for name in items.names:
        try:
            status = _path(items, name).stat()
        except OSError:
            continue  # reading it says why
        if status.st_ino:
            yield name, (status.st_dev, status.st_ino), status.st_size


def _path(items: Items, name: str) -> Path:
    assert isinstance(items.source, Files)
    return items.source.root / name


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""
