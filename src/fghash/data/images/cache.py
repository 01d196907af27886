"""The decoded cache: images as bytes, scaled down once, so that an epoch waits for no JPEG.

A cache is a folder of three files: ``pixels`` (the images one after another), ``index.npz`` (their
shapes, places and checksums) and ``cache.json`` (version, sizes and the index's hash). It is built by
:mod:`fghash.data.images.cache_build`.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fghash.errors import InputError

VERSION = 2  # 2: scaled in whole numbers
_ALIGNMENT = 64  # bytes between the beginnings of images

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Index:
    """Where each image lies: ``shapes`` (n, 2) heights and widths, ``starts`` (n + 1,), ``sums`` (n,)."""

    shapes: NDArray[np.int64]
    starts: NDArray[np.int64]
    sums: NDArray[np.uint64]

    @classmethod
    def of(cls, shapes: list[tuple[int, int]]) -> Index:
        """Images of these shapes one after another, their sums not yet known."""
        array = np.array(shapes, np.int64).reshape(-1, 2)
        sizes = -(-array.prod(1) * 3 // _ALIGNMENT) * _ALIGNMENT
        return cls(array, np.append(0, np.cumsum(sizes)), np.zeros(len(array), np.uint64))

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def n_bytes(self) -> int:
        """Size of all images."""
        return int(self.starts[-1])

    def room(self, pixels: Bytes, position: int) -> Bytes:
        """The bytes of one image, padding included."""
        return pixels[self.starts[position] : self.starts[position + 1]]


@dataclass
class Decoded:
    """A source of scaled images; each one's checksum is looked at when a process first reads it."""

    index: Index
    where: str
    file: Path | None = None
    memory: Bytes | None = None
    _checked: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._checked = np.zeros(len(self), bool)

    def __len__(self) -> int:
        return len(self.index)

    def read(self, position: int, short_side: int | None = None) -> Bytes:
        """One image, (height, width, 3), not a copy.

        Raises:
            InputError: its bytes are not those that were written.
        """
        room = self.index.room(self.pixels(), position)
        if not self._checked[position]:
            if checksum(room) != self.index.sums[position]:
                raise InputError(
                    f"--data.cache: {self.where} is corrupted at picture {position}, delete that folder"
                )
            self._checked[position] = True
        height, width = self.index.shapes[position]
        return room[: height * width * 3].reshape(height, width, 3)

    def pixels(self) -> Bytes:
        """All images one after another, as the index says where."""
        if self.memory is None:
            assert self.file is not None
            self.memory = np.memmap(self.file, np.uint8, "r") if self.index.n_bytes else np.empty(0, np.uint8)
        return self.memory

    def __getstate__(self) -> dict[str, Any]:
        """A loading process that is not a fork maps the file anew."""
        return self.__dict__ | ({"memory": None} if self.file else {})


def checksum(room: Bytes) -> np.uint64:
    """Sum of the 64-bit words: finds any single fault, at the speed of memory."""
    return np.uint64(np.add.reduce(room.view(np.uint64), dtype=np.uint64))


def open_cache(place: Path, n_items: int, short_side: int) -> Decoded:
    """Open a finished cache.

    Raises:
        InputError: it is of another version, or not what was written.
    """
    try:
        about = json.loads((place / "cache.json").read_text())
        packed = (place / "index.npz").read_bytes()
        n_bytes = (place / "pixels").stat().st_size
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--data.cache: {place} is damaged ({error}), delete that folder") from error
    if not isinstance(about, dict) or about.get("version") != VERSION:
        found = about.get("version") if isinstance(about, dict) else about
        raise InputError(f"--data.cache: {place} is of version {found}, not {VERSION}: delete that folder")
    expected = {"items": n_items, "short_side": short_side, "bytes": n_bytes, "index": digest(packed)}
    wrong = [key for key, value in expected.items() if about.get(key) != value]
    if wrong:
        raise InputError(f"--data.cache: {place} is corrupted (its {wrong[0]} differ), delete that folder")
    return Decoded(_read_index(packed, n_items, n_bytes, place), str(place), file=place / "pixels")


def _read_index(packed: bytes, n_items: int, n_bytes: int, place: Path) -> Index:
    """The index, if it is one of so many images in so many bytes: its own hash proves nothing."""
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            shapes, sums = arrays["shapes"], arrays["sums"]
            index = Index.of([(int(height), int(width)) for height, width in shapes])
            fits = (
                len(index) == len(sums) == n_items and index.n_bytes == n_bytes and bool((shapes > 0).all())
            )
            if fits and np.array_equal(index.starts, arrays["starts"]):
                return Index(index.shapes, index.starts, sums.astype(np.uint64))
    except Exception as error:  # damage shows as anything, from zipfile's errors to those of numpy's parser
        raise InputError(f"--data.cache: {place} is damaged ({error}), delete that folder") from error
    raise InputError(f"--data.cache: {place} is corrupted (its index), delete that folder")


def digest(packed: bytes) -> str:
    """Hash of the index as it lies on disk."""
    return hashlib.sha256(packed).hexdigest()
