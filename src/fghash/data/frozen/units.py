"""Cached features on disk: one folder for each kind of feature and view, complete or under construction.

A unit is a folder of three files: ``rows`` (float16, one row an item), ``sums`` (a checksum a row) and
``about.json``. It is filled block by block in a hidden folder, with a mark for each block that is safely on
disk, so that a killed build goes on where it was; the folder is renamed when all blocks are there.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fghash.errors import InputError
from fghash.files import reserve

VERSION = 2  # 2: images are scaled in whole numbers
BLOCK = (
    64  # items that are computed together; the same batches whoever builds, and however often it broke off
)

Rows = NDArray[np.float16]


@dataclass(frozen=True)
class Unit:
    """One kind of feature of one split in one view: ``kind`` is ``pooled`` or ``level3``; view 0 is that of
    evaluation.

    ``crops`` names the augmentation by content; empty for view 0.
    """

    split: str
    kind: str
    view: int
    crops: str = ""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.split}-{self.kind}-view{self.view}{self.crops and '-'}{self.crops}"


@dataclass
class OpenUnit:
    """A finished unit; the checksum of a row is compared when the row is first read."""

    rows: Rows
    sums: NDArray[np.uint64]
    where: str
    _checked: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._checked = np.zeros(len(self.rows), bool)

    def take(self, index: NDArray[np.int64]) -> Rows:
        """These rows (b, ...), a copy.

        Raises:
            InputError: bytes that are not those that were written, or that are not finite numbers.
        """
        taken = self.rows[index]
        fresh = ~self._checked[index]
        if fresh.any():
            wrong = index[fresh][checksums(taken[fresh]) != self.sums[index[fresh]]]
            if len(wrong):
                raise InputError(f"--data.features: {self.where} is corrupted at row {wrong[0]}, {DELETE}")
            self._checked[index] = True
        return taken


DELETE = "delete that folder (the next run builds it again)"


def checksums(rows: Rows) -> NDArray[np.uint64]:
    """A sum for each row that any single fault changes: 16-bit words, weighted by odd numbers."""
    words = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint16).astype(np.uint64)
    weights = np.arange(words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return words @ weights


def open_unit(folder: Path, n_rows: int) -> OpenUnit:
    """Map a finished unit.

    Raises:
        InputError: it is truncated, of another version, or holds another number of rows.
    """
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        version, shape = about["version"], tuple(int(each) for each in about["shape"])
        if any(each < 1 for each in shape[1:]) or len(shape) > 8:
            raise ValueError(f"shape {shape}"[:100])
        found, sums = (folder / "rows").stat().st_size, np.fromfile(folder / "sums", np.uint64)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"--data.features: {folder} is damaged ({error}), {DELETE}") from error
    if version != VERSION:
        raise InputError(f"--data.features: {folder} is of version {version}, not {VERSION}: {DELETE}")
    if not shape or shape[0] != n_rows or len(sums) != n_rows:
        held = shape[0] if shape else 0
        raise InputError(f"--data.features: {folder} holds {held} items, the data have {n_rows}: {DELETE}")
    if found != math.prod(shape) * 2:
        raise InputError(
            f"--data.features: {folder} is truncated ({found} of {math.prod(shape) * 2} bytes), {DELETE}"
        )
    return OpenUnit(np.memmap(folder / "rows", np.float16, "r", shape=shape), sums, str(folder))


def check_unit(folder: Path) -> None:
    """Read a whole unit and compare every checksum.

    Raises:
        InputError: as :func:`open_unit` and :meth:`OpenUnit.take`.
    """
    shape = read_json(folder / "about.json").get("shape")
    unit = open_unit(folder, shape[0] if isinstance(shape, list) and shape else 0)
    for start in range(0, len(unit.rows), 16 * BLOCK):
        unit.take(np.arange(start, min(start + 16 * BLOCK, len(unit.rows)), dtype=np.int64))


class Construction:
    """A unit that is being built: memory-mapped rows and sums, and a mark for each finished block.

    Args:
        place: the folder that it will be.
        shape: of all rows, (n, ...).
    """

    def __init__(self, place: Path, shape: Sequence[int]) -> None:
        self.place, self.shape = place, tuple(shape)
        self.folder = place.with_name(f".{place.name}.building")

    @property
    def n_blocks(self) -> int:
        """Blocks of BLOCK rows, the last one shorter."""
        return -(-self.shape[0] // BLOCK)

    @property
    def n_bytes(self) -> int:
        """Size of the rows."""
        return math.prod(self.shape) * 2

    def begin(self) -> None:
        """Reserve the files, or keep those of a build that broke off."""
        wanted = json.dumps({"version": VERSION, "shape": self.shape})
        note = self.folder / "shape.json"
        if note.is_file() and note.read_text(encoding="utf-8") == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name, size in (("rows", self.n_bytes), ("sums", self.shape[0] * 8), ("done", self.n_blocks)):
            with (self.folder / name).open("wb") as file:
                reserve(file.fileno(), size)
        note.write_text(wanted, encoding="utf-8")

    def open(self) -> tuple[Rows, NDArray[np.uint64], NDArray[np.uint8]]:
        """Rows, sums and marks, to be written."""
        rows = np.memmap(self.folder / "rows", np.float16, "r+", shape=self.shape)
        sums = np.memmap(self.folder / "sums", np.uint64, "r+", shape=self.shape[:1])
        return rows, sums, np.memmap(self.folder / "done", np.uint8, "r+", shape=(self.n_blocks,))

    def done(self) -> NDArray[np.bool_]:
        """Which blocks are finished."""
        try:
            marks = np.fromfile(self.folder / "done", np.uint8)
        except OSError:
            marks = np.zeros(0, np.uint8)
        finished: NDArray[np.bool_] = np.zeros(self.n_blocks, bool)
        finished[: len(marks)] = marks[: self.n_blocks] == 1
        return finished

    def publish(self) -> None:
        """Take the place, all blocks being there."""
        assert self.done().all(), "a block is missing"
        (self.folder / "done").unlink()
        (self.folder / "shape.json").unlink()
        about = json.dumps({"version": VERSION, "shape": self.shape})
        (self.folder / "about.json").write_text(about, encoding="utf-8")
        shutil.rmtree(self.place, ignore_errors=True)
        self.folder.rename(self.place)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file; empty where there is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
