"""The index: what the leaderboard needs of every run folder, in one file, so that it need not read them all.

``<runs>/.index.jsonl``: a line that says the version, then a line for each run: checksum, and JSON of its
records, its config and the sizes and times of the files that these come from. A folder whose files are not as
its line says is read again. The file can be deleted at any time, and a damaged line counts as none; several
processes may write it, as each replaces it whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fghash
from fghash.errors import InputError
from fghash.store.finished import finished, read_config
from fghash.store.parsing import parse_json
from fghash.store.record import SCHEMA, Record
from fghash.store.writing import replacing

NAME = ".index.jsonl"

_HEAD = f"fghash index 1, records {SCHEMA}, {fghash.__version__}".encode()
_SETTLED = 2 * 10**9  # nanoseconds after which a second change of a file shows in its time on any disk

Signature = list[list[Any]]  # name, size, time of content and time of inode of each file, sorted


@dataclass(frozen=True)
class StoredRun:
    """A run folder: its finished records, its config (``None`` if unreadable) and what was skipped in it."""

    path: str
    records: list[Record]
    config: Mapping[str, Any] | None
    skipped: list[str]


def stored_runs(runs: Path) -> list[StoredRun]:
    """Every folder below ``runs`` that holds finished scores, in a fixed order; brings the index up to date.

    Raises:
        InputError: there is no such folder.
    """
    lines, found, now = _read(runs), [], time.time_ns()
    kept: list[bytes] = []
    for name in run_names(runs):
        signature = _signature(f"{runs}/{name}")
        line = lines.get(name)
        run = _decoded(line, name, signature) if line else None
        if run is None:
            run = _read_run(runs, name)
            line = _encoded(run, signature) if _is_settled(signature, now) else None
        found.append(run)
        kept += [line] if line else []
    if kept != list(lines.values()):
        _write(runs, kept)
    return found


def run_names(runs: Path) -> list[str]:
    """Paths below ``runs`` of all folders that hold finished scores, sorted.

    Raises:
        InputError: there is no such folder.
    """
    if not runs.is_dir():
        raise InputError(f"runs: no such folder '{runs}'")
    names = [""]
    for _ in range(4):
        names = [f"{name}{each}/" for name in names for each in _folders(f"{runs}/{name}")]
    return sorted(name[:-1] for name in names if os.path.isdir(f"{runs}/{name}finished"))  # noqa: PTH112


def _folders(folder: str) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from [entry.name for entry in entries if entry.is_dir()]


def _signature(run: str) -> Signature:
    files: Signature = []
    for folder in ("finished", "records"):
        with contextlib.suppress(OSError), os.scandir(f"{run}/{folder}") as entries:
            files += [_state(f"{folder}/{entry.name}", entry.stat()) for entry in entries]
    with contextlib.suppress(OSError):
        files.append(_state("config.yaml", os.stat(f"{run}/config.yaml")))  # noqa: PTH116, ten thousand times
    return sorted(files)


def _state(name: str, status: os.stat_result) -> list[Any]:
    return [name, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _is_settled(signature: Signature, now: int) -> bool:
    """Whether the files are old enough for any later change to show in their times."""
    return all(max(modified, changed) < now - _SETTLED for _, _, modified, changed in signature)


def _read_run(runs: Path, name: str) -> StoredRun:
    found = finished(runs / name)
    config = read_config(runs / name)
    records = [_completed(record, config) for record in found.records]
    return StoredRun(name, records, config, found.skipped)


def _completed(record: Record, config: Mapping[str, Any] | None) -> Record:
    """A record of the first version with what the config beside it says of preset and budget."""
    if record.preset or config is None:
        return record
    trainer = config.get("trainer")
    epochs = trainer.get("max_epochs") if isinstance(trainer, dict) and "max_time" not in trainer else None
    told = {"preset": config.get("preset"), "batch_size": config.get("batch_size"), "epochs": epochs}
    with contextlib.suppress(InputError):
        return Record.from_values({**vars(record), **{name: told[name] for name in told if told[name]}})
    return record


def _read(runs: Path) -> dict[str, bytes]:
    """The lines of the index by the path of their run; none if there is no index of this version."""
    path = runs / NAME
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        return {}
    head, *lines = content.split(b"\n")
    return {_path_of(line): line for line in lines if line} if head == _HEAD else {}


def _path_of(line: bytes) -> str:
    return os.fsdecode(line[9:].partition(b"\t")[0])


def _encoded(run: StoredRun, signature: Signature) -> bytes | None:
    """The line of a run, or ``None`` if it cannot have one (a tab or a line break in its path)."""
    path = os.fsencode(run.path)
    if b"\t" in path or b"\n" in path:
        return None
    values = {
        "signature": signature,
        "records": [vars(record) for record in run.records],
        "config": run.config,
        "skipped": run.skipped,
    }
    try:
        body = path + b"\t" + json.dumps(values, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return b"%08x %s" % (zlib.crc32(body), body)


def _decoded(line: bytes, name: str, signature: Signature) -> StoredRun | None:
    """The run of a line that is whole and describes the files as they are, else ``None``."""
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body):
        return None
    with contextlib.suppress(InputError, KeyError, TypeError):
        values = parse_json(body.partition(b"\t")[2])
        if values["signature"] == signature:
            records = [Record.from_values({"schema": SCHEMA, **each}) for each in values["records"]]
            return StoredRun(name, records, values["config"], [str(line) for line in values["skipped"]])
    return None


def _write(runs: Path, lines: list[bytes]) -> None:
    """Replace the index; a store that cannot be written is read without one."""
    with contextlib.suppress(InputError), replacing(runs / NAME) as temporary:
        temporary.write_bytes(b"\n".join([_HEAD, *lines, b""]))
