"""What is finished in a run's folder: its markers, the records that they name, and its config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from fghash.display import harmless
from fghash.errors import InputError
from fghash.files import is_temporary
from fghash.settings.config import plain
from fghash.store.parsing import read_file, read_json
from fghash.store.record import Record, read_record

# What an attack on a YAML reader is made of: repeated aliases, and nesting without end.
_ALIAS = re.compile(rb"(^|[\s\[{,-])&", re.MULTILINE)
_NESTING = re.compile(rb"[\[{?-]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_NESTING = 2_000
_MAX_CONFIG = 200_000
_OF_THIS_RUN = re.compile(rb"^(seed|runs|gpus|cpus):.*\n(- .*\n)*", re.MULTILINE)


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
            kind = (record.bits, record.gallery_codes, record.protocol)
            if record.run != run.name or kind in kinds:  # it would count twice in the mean of its group
                raise InputError(f"a copy of a record of run {record.run[:40]!r}")
        except InputError as error:
            found.skipped.append(f"skipped '{harmless(str(path))}': {error}")
            continue
        kinds.add(kind)
        found.records.append(record)
    return found


def read_config(run: Path) -> dict[str, Any] | None:
    """The run's ``config.yaml`` as plain nested values, without its seed; ``None`` if it is not readable."""
    try:
        text = read_file(run / "config.yaml", _MAX_CONFIG)
    except InputError:
        return None
    return _parsed(_OF_THIS_RUN.sub(b"", text))


@lru_cache(maxsize=4096)  # the runs that differ in nothing but the seed have the same
def _parsed(text: bytes) -> dict[str, Any] | None:
    if len(_NESTING.findall(text)) > _MAX_NESTING or _ALIAS.search(text):
        return None
    try:
        values = plain(yaml.load(text, _LOADER))  # noqa: S506, it is a safe one
    except Exception:  # damage shows as anything, from the parser's errors to a date that does not exist
        return None
    return values if isinstance(values, dict) else None


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
            skipped.append(f"skipped '{harmless(str(path))}': not a marker of a finished run")


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
