"""The store: one folder a run, ``runs/<data>/<method>/<bits>/<run id>/``, every file in it whole or absent.

config.yaml  provenance.json  checkpoints/
codes/<bits>-<gallery codes>/{gallery,queries}.npz
groups/<bits>-<gallery codes>.npz
records/<bits>-<gallery codes>-<protocol>.json
finished/<protocol>.json                              written last: what it names is complete
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fghash.codes as code_files
from fghash.errors import InputError
from fghash.files import is_temporary
from fghash.store.lock import locked
from fghash.store.record import Record, SkippedRecord, read_record
from fghash.store.writing import replacing, write_text

if TYPE_CHECKING:
    from fghash.codes import Codes
    from fghash.evaluation import TieGroups


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. ``bits`` in the methods below may be less than the run's own (nested codes)."""

    path: Path

    @classmethod
    def at(cls, runs: Path, data: str, method: str, bits: int, run: str) -> RunFolder:
        """The folder of run id ``run``, which need not exist yet."""
        return cls(runs / data / method / str(bits) / run)

    @property
    def checkpoints(self) -> Path:
        """Where the training keeps its checkpoints."""
        return self.path / "checkpoints"

    def lock(self) -> AbstractContextManager[None]:
        """Context in which no other process may train this run (:func:`fghash.store.lock.locked`)."""
        return locked(self.path / "lock")

    def clear(self) -> None:
        """Forget everything but the lock; the finished markers go first, so that half a run never shows."""
        shutil.rmtree(self.path / "finished", ignore_errors=True)
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()

    def withdraw(self) -> None:
        """Forget all scores, under every protocol; the markers go first, so that half of them never show."""
        for name in ("finished", "records"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def write_config(self, text: str) -> None:
        """Keep the resolved config, the YAML that alone re-runs this run."""
        write_text(self.path / "config.yaml", text)

    def read_config(self) -> str:
        """The resolved config.

        Raises:
            InputError: this folder is not that of a run.
        """
        return self._read("config.yaml")

    def write_provenance(self, values: Mapping[str, Any]) -> None:
        """Keep where, when and with what the run was made; replaces what was there."""
        text = json.dumps(dict(values), indent=1, sort_keys=True, default=str)
        write_text(self.path / "provenance.json", text + "\n")

    def read_provenance(self) -> dict[str, Any]:
        """What :meth:`write_provenance` kept.

        Raises:
            InputError: there is none.
        """
        return dict(json.loads(self._read("provenance.json")))

    def write_codes(self, bits: int, gallery_codes: str, part: str, codes: Codes, labels: np.ndarray) -> None:
        """Keep the codes and labels of ``part``: ``gallery``, ``queries`` or another word."""
        path = self.codes_path(bits, gallery_codes, part)
        with replacing(path) as temporary:
            code_files.save_codes(temporary, codes, labels)

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
        pairs = sorted((int(bits), kind) for bits, _, kind in found if bits.isdigit())
        return [pair for pair in pairs if self.has_codes(*pair)]

    def write_groups(self, bits: int, gallery_codes: str, groups: TieGroups) -> None:
        """Keep the tie groups, from which any later cutoff is scored."""
        with replacing(self._groups(bits, gallery_codes)) as temporary:
            groups.save(temporary)

    def read_groups(self, bits: int, gallery_codes: str) -> TieGroups | None:
        """The tie groups, or ``None`` if they were never kept."""
        from fghash.evaluation import TieGroups

        path = self._groups(bits, gallery_codes)
        return TieGroups.load(path) if path.is_file() else None

    def write_record(self, record: Record) -> None:
        """Keep a record; it shows only once its protocol is finished."""
        write_text(self.path / "records" / _record_name(record), record.to_json())

    def finish(self, protocol: str) -> None:
        """Mark every record of ``protocol`` in this folder as complete (the last thing a run does).

        Raises:
            InputError: the folder holds no record of that protocol.
        """
        paths = [path for path in _json_files(self.path / "records") if _holds(path, protocol)]
        if not paths:
            raise InputError(f"protocol: '{self.path}' holds no record of '{protocol}'")
        marker = {"protocol": protocol, "records": [path.name for path in paths]}
        write_text(
            self.path / "finished" / f"{_file_word(protocol)}.json", json.dumps(marker, indent=1) + "\n"
        )

    def is_finished(self, protocol: str) -> bool:
        """Whether the scores under ``protocol`` are complete."""
        return any(marker["protocol"] == protocol for marker in self._markers())

    def records(self, protocol: str | None = None) -> list[Record]:
        """The finished records (of one protocol, or of all); what is no record is skipped with a warning."""
        names = [
            name
            for marker in self._markers()
            if protocol in (None, marker["protocol"])
            for name in marker["records"]
        ]
        found = [read_record(self.path / "records" / name) for name in names]
        return [record for record in found if record is not None and self._owns(record)]

    def _owns(self, record: Record) -> bool:
        if record.run == self.path.name:
            return True
        # A copied folder would count twice in the mean of its group.
        warnings.warn(f"skipped a record of run {record.run} in '{self.path}'", SkippedRecord, stacklevel=2)
        return False

    def _markers(self) -> list[dict[str, Any]]:
        markers = [_read_marker(path) for path in _json_files(self.path / "finished")]
        return [marker for marker in markers if marker is not None]

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
    if not runs.is_dir():
        raise InputError(f"runs: no such folder '{runs}'")
    yield from (RunFolder(path.parent) for path in sorted(runs.glob("*/*/*/*/finished")))


def require_writable(runs: Path) -> None:
    """Fail early, before any training.

    Raises:
        InputError: nothing can be written below ``runs``.
    """
    with replacing(runs / ".writable") as temporary:
        temporary.touch()
    (runs / ".writable").unlink(missing_ok=True)


def _record_name(record: Record) -> str:
    return f"{record.bits}-{record.gallery_codes}-{_file_word(record.protocol)}.json"


def _file_word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9@,._-]", "_", name)


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not is_temporary(path))


def _holds(path: Path, protocol: str) -> bool:
    record = read_record(path)
    return record is not None and record.protocol == protocol


def _read_marker(path: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(marker["protocol"], str) and all(isinstance(name, str) for name in marker["records"]):
            return dict(marker)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    warnings.warn(f"skipped '{path}': not a marker of a finished run", SkippedRecord, stacklevel=2)
    return None
