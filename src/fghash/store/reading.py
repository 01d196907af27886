"""What a run's folder says is finished: its markers, and the records that they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.files import is_temporary
from fghash.store.parsing import read_json
from fghash.store.record import Record, read_record


@dataclass
class Finished:
    """The finished records of one folder, and a line about each file that holds none."""

    records: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def finished(run: Path) -> Finished:
    """Read the records of the run's folder ``run``; what is not one is skipped, with a line that says so."""
    found = Finished()
    kinds = set()
    for path in _named(run, found):
        try:
            record = read_record(path)
        except InputError as error:
            found.skipped.append(f"skipped '{path}': {error}")
            continue
        kind = (record.bits, record.gallery_codes, record.protocol)
        if record.run != run.name or kind in kinds:  # a copy would count twice in the mean of its group
            found.skipped.append(f"skipped '{path}': a copy of a record of run {record.run[:40]!r}")
            continue
        kinds.add(kind)
        found.records.append(record)
    return found


def json_files(folder: Path) -> list[Path]:
    """The JSON files of a folder, without those that a killed process left half-written."""
    return sorted(path for path in folder.glob("*.json") if not is_temporary(path))


def markers(run: Path, skipped: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """What is finished: ``protocol`` and the file names of its ``records``, one marker a protocol."""
    for path in json_files(run / "finished"):
        try:
            marker = read_json(path)
        except InputError:
            marker = None
        if _is_marker(marker):
            yield marker
        elif skipped is not None:
            skipped.append(f"skipped '{path}': not a marker of a finished run")


def _named(run: Path, found: Finished) -> list[Path]:
    names = [name for marker in markers(run, found.skipped) for name in marker["records"]]
    return [run / "records" / name for name in dict.fromkeys(names)]


def _is_marker(marker: Any) -> bool:
    if not isinstance(marker, dict) or not isinstance(marker.get("protocol"), str):
        return False
    names = marker.get("records")
    return isinstance(names, list) and all(
        isinstance(name, str) and Path(name).name == name for name in names
    )
