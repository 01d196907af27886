"""The store: one folder a run, ``runs/<data>/<method>/<bits>/<run id>/``, every file in it whole or absent.

config.yaml  provenance.json  checkpoints/
codes/<bits>-<gallery codes>/{gallery,queries}.npz    checksums.json
groups/<bits>-<gallery codes>.npz
budgets.json
items/{gallery,queries}.json  embeddings/{gallery,queries}.npz
records/<bits>-<gallery codes>-<protocol>.json
finished/<protocol>.json                              written last: what it names is complete
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fghash.codes as code_files
from fghash.codes import RealCodes
from fghash.errors import InputError
from fghash.files import is_temporary
from fghash.store.finished import finished, json_files, markers
from fghash.store.index import run_names
from fghash.store.lock import locked
from fghash.store.parsing import read_json
from fghash.store.record import Record, SkippedRecord, read_record
from fghash.store.writing import replacing, with_folder, write_text

if TYPE_CHECKING:
    from fghash.codes import Codes
    from fghash.evaluation import TieGroups

BUDGET_POINT = ("part", "image_passes", "seconds", "val_map")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. ``bits`` in the methods below may be less than the run's own (nested codes)."""

    path: Path

    @classmethod
    def at(cls, runs: Path, data: str, method: str, bits: int, run: str) -> RunFolder:
        """The folder of run id ``run``, which need not exist yet."""
        return cls(runs / path_part(data) / path_part(method) / str(bits) / run)

    @property
    def checkpoints(self) -> Path:
        """Where the training writes its checkpoints."""
        return self.path / "checkpoints"

    def lock(self) -> AbstractContextManager[None]:
        """Context in which no other process may train this run (:func:`fghash.store.lock.locked`)."""
        return locked(self.path / "lock")

    def clear(self) -> None:
        """Delete everything but the lock; the finished markers go first, so that half a run never shows."""
        shutil.rmtree(self.path / "finished", ignore_errors=True)
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif not entry.name.startswith("lock"):
                entry.unlink()

    def tidy(self) -> None:
        """Delete what a killed process left half-written; only while holding the lock."""
        for path in self.path.rglob(".*"):
            if is_temporary(path):
                path.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Delete all scores, under every protocol; the markers go first, so that half of them never show."""
        for name in ("finished", "records"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def write_config(self, text: str) -> None:
        """Store the resolved config, the YAML that repeats this run."""
        write_text(self.path / "config.yaml", text)

    def read_config(self) -> str:
        """The resolved config.

        Raises:
            InputError: this folder is not that of a run.
        """
        return self._read("config.yaml")

    def write_provenance(self, values: Mapping[str, Any]) -> None:
        """Store where, when and with what the run was made; replaces an earlier one."""
        text = json.dumps(dict(values), indent=1, sort_keys=True, default=str)
        write_text(self.path / "provenance.json", text + "\n")

    def read_provenance(self) -> dict[str, Any]:
        """What :meth:`write_provenance` stored.

        Raises:
            InputError: there is none.
        """
        return dict(json.loads(self._read("provenance.json")))

    def write_budgets(self, points: Sequence[Mapping[str, float]]) -> None:
        """Store the scores on the validation split after parts of the training (``--score_at``)."""
        write_text(self.path / "budgets.json", json.dumps([dict(point) for point in points], indent=1) + "\n")

    def read_budgets(self) -> list[dict[str, float]]:
        """What :meth:`write_budgets` stored; empty if nothing, or if the file is damaged."""
        try:
            points = read_json(self.path / "budgets.json")
            return [{key: float(point[key]) for key in BUDGET_POINT} for point in points]
        except (InputError, TypeError, KeyError, ValueError):
            return []

    def write_codes(self, bits: int, gallery_codes: str, part: str, codes: Codes, labels: np.ndarray) -> None:
        """Store the codes and labels of ``part``: ``gallery``, ``queries`` or another name."""
        code_files.save_codes(with_folder(self.codes_path(bits, gallery_codes, part)), codes, labels)

    def read_codes(self, bits: int, gallery_codes: str, part: str) -> tuple[Codes, np.ndarray]:
        """Codes and labels of ``part``.

        Raises:
            InputError: they are not in the store, or the file is damaged.
        """
        return code_files.load_codes(self.codes_path(bits, gallery_codes, part))

    def codes_path(self, bits: int, gallery_codes: str, part: str) -> Path:
        """The file of one part's codes."""
        return self.path / "codes" / f"{bits}-{gallery_codes}" / f"{part}.npz"

    def has_codes(self, bits: int, gallery_codes: str) -> bool:
        """Whether gallery and queries are both there: they can be scored without training."""
        parts = ("gallery", "queries")
        return all(self.codes_path(bits, gallery_codes, part).is_file() for part in parts)

    def coded(self) -> list[tuple[int, str]]:
        """The (bits, gallery codes) whose gallery and queries are both there, shortest first."""
        found = (entry.name.partition("-") for entry in (self.path / "codes").glob("*-*"))
        pairs = sorted((int(bits), kind) for bits, _, kind in found if bits.isdecimal())
        return [pair for pair in pairs if self.has_codes(*pair)]

    def lengths(self) -> list[int]:
        """Lengths of the network's codes whose gallery and queries are both there, shortest first."""
        return [bits for bits, kind in self.coded() if kind == "network"]

    def write_embeddings(self, part: str, embeddings: RealCodes, labels: np.ndarray) -> None:
        """Store the real embeddings and labels of ``part``, from which ``map_real`` can be computed again."""
        code_files.save_codes(with_folder(self._embeddings(part)), embeddings, labels)

    def read_embeddings(self, part: str) -> tuple[RealCodes, np.ndarray] | None:
        """Embeddings and labels of ``part``, or ``None`` if they were not stored.

        Raises:
            InputError: the file is damaged, or holds codes of another kind.
        """
        path = self._embeddings(part)
        if not path.is_file():
            return None
        codes, labels = code_files.load_codes(path)
        if not isinstance(codes, RealCodes):
            raise InputError(f"{path}: holds {type(codes).__name__}, expected real embeddings")
        return codes, labels

    def write_items(self, part: str, names: Sequence[str]) -> None:
        """Store the names of the items of ``part`` in their order: paths relative to the root of the data.

        A name that is not UTF-8, decoded as Python does with paths (``surrogateescape``), is stored exactly.
        """
        write_text(self._items(part), json.dumps(list(names), indent=0) + "\n")

    def read_items(self, part: str) -> list[str] | None:
        """The names of the items of ``part``, or ``None`` if they were not stored.

        Raises:
            InputError: the file is damaged.
        """
        path = self._items(part)
        if not path.is_file():
            return None
        try:
            names = read_json(path, limit=None)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: not a list of names")
        return names

    def write_groups(self, bits: int, gallery_codes: str, groups: TieGroups) -> None:
        """Store the tie groups, from which the scores at any later cutoff are computed."""
        groups.save(with_folder(self._groups(bits, gallery_codes)))

    def read_groups(self, bits: int, gallery_codes: str) -> TieGroups | None:
        """The tie groups, or ``None`` if they were not stored."""
        from fghash.evaluation import TieGroups

        path = self._groups(bits, gallery_codes)
        return TieGroups.load(path) if path.is_file() else None

    def write_record(self, record: Record) -> None:
        """Store a record; it shows only once its protocol is finished."""
        write_text(self.path / "records" / _record_name(record), record.to_json())

    def finish(self, protocol: str) -> None:
        """Mark every record of ``protocol`` in this folder as complete (the last thing a run does).

        Raises:
            InputError: the folder holds no record of that protocol.
        """
        names = [path.name for path in json_files(self.path / "records") if _holds(path, protocol)]
        if not names:
            raise InputError(f"protocol: '{self.path}' holds no record of '{protocol}'")
        marker = json.dumps({"protocol": protocol, "records": names}, indent=1)
        write_text(self.path / "finished" / f"{path_part(protocol)}.json", f"{marker}\n")

    def is_finished(self, protocol: str) -> bool:
        """Whether the scores under ``protocol`` are complete."""
        return any(marker["protocol"] == protocol for marker in markers(self.path))

    def records(self, protocol: str | None = None) -> list[Record]:
        """The finished records (of one protocol, or of all); other files are skipped with a warning."""
        found = finished(self.path)
        for line in found.skipped:
            warnings.warn(line, SkippedRecord, stacklevel=2)
        return [record for record in found.records if protocol in (None, record.protocol)]

    def _items(self, part: str) -> Path:
        return self.path / "items" / f"{part}.json"

    def _embeddings(self, part: str) -> Path:
        return self.path / "embeddings" / f"{part}.npz"

    def _groups(self, bits: int, gallery_codes: str) -> Path:
        return self.path / "groups" / f"{bits}-{gallery_codes}.npz"

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"run: '{self.path}' has no {name} ({error.strerror or error})") from error


def run_folders(runs: Path) -> Iterator[RunFolder]:
    """Every folder below ``runs`` that holds finished scores, in a fixed order.

    Raises:
        InputError: there is no such folder.
    """
    yield from (RunFolder(runs / name) for name in run_names(runs))


def require_writable(runs: Path) -> None:
    """Fail early, before any training.

    Raises:
        InputError: nothing can be written below ``runs``.
    """
    is_new = not runs.exists()
    with replacing(runs / ".writable") as temporary:
        temporary.touch()
    (runs / ".writable").unlink(missing_ok=True)
    if is_new:
        with contextlib.suppress(OSError):
            runs.rmdir()


def path_part(name: str) -> str:
    """``name`` as one part of a path on any disk; names that differ may become equal.

    >>> path_part("folder:cars"), path_part("../x y"), path_part("fghash-1@1,10")
    ('folder_cars', '_._x_y', 'fghash-1@1,10')
    """
    safe = re.sub(r"^\.|[^\w@,.+-]", "_", name)
    while len(safe.encode()) > 120:
        safe = safe[:-1]
    return safe or "_"


def _record_name(record: Record) -> str:
    return f"{record.bits}-{path_part(record.gallery_codes)}-{path_part(record.protocol)}.json"


def _holds(path: Path, protocol: str) -> bool:
    try:
        return read_record(path).protocol == protocol
    except InputError as error:
        warnings.warn(f"skipped '{path}': {error}", SkippedRecord, stacklevel=3)
        return False
