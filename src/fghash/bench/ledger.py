"""What became of each cell, on disk: one small file a cell, whole or absent, beside the runs.

``<runs>/.bench/cells/<cell id>.json`` says how the cell ended; ``<runs>/.bench/logs/<cell id>.log`` is what
its training printed. Both can be deleted at any time: a finished run is then found again, not trained again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fghash import __version__
from fghash.bench.table import Cell
from fghash.errors import InputError
from fghash.presets import DEFAULT, read_preset
from fghash.settings.identity import canonical_json
from fghash.store import RunFolder
from fghash.store.parsing import parse_json, read_file
from fghash.store.writing import write_text

FINISHED, FAILED, REFUSED = "finished", "failed", "refused"
_STATUS = (FINISHED, FAILED, REFUSED)
_LIMIT = 1_000_000
_MANY_FILES = 1_000


@dataclass(frozen=True)
class State:
    """How a cell ended.

    Args:
        status: ``finished``; ``failed`` (``error`` says why, the log has it in full); or ``refused``: the
            method does not have this code length.
        cell: its name for people.
        method: of the cell.
        run: path of the run's folder below the store.
        protocol: under which it was scored.
        lengths: the code lengths that the training gave.
        map: of network codes at the cell's length.
        seconds: that the cell took; 0 where its run was there before.
        error: one line.
    """

    status: str
    cell: str
    method: str
    run: str = ""
    protocol: str = ""
    lengths: tuple[int, ...] = ()
    map: float | None = None
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Ledger:
    """The states of cells in the store ``runs``."""

    runs: Path

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.runs / ".bench"

    def log(self, name: str) -> Path:
        """The file of what the training of cell id ``name`` printed."""
        return self.folder / "logs" / f"{name}.log"

    def write(self, name: str, state: State) -> None:
        """Store the state of the cell id ``name``.

        Raises:
            InputError: the folder cannot be written.
        """
        write_text(self._path(name), json.dumps(asdict(state), indent=1, sort_keys=True) + "\n")

    def read(self, name: str) -> State | None:
        """The state of a cell, ``None`` where nothing is known or the file is damaged.

        A finished cell counts only as long as its run's folder holds finished scores that can be read.
        """
        state = self._stored(self._path(name))
        if state is None or state.status != FINISHED:
            return state
        folder = self.runs / state.run
        inside = folder.resolve().is_relative_to(self.runs.resolve())
        return state if inside and RunFolder(folder).records(state.protocol) else None

    def all_states(self) -> list[State]:
        """The states of all cells of all tables, from which durations are estimated."""
        paths = sorted((self.folder / "cells").glob("[0-9a-f]*.json"))
        return [state for path in paths if (state := self._stored(path)) is not None]

    def _path(self, name: str) -> Path:
        return self.folder / "cells" / f"{name}.json"

    def _stored(self, path: Path) -> State | None:
        with suppress(InputError, OSError, TypeError, ValueError, KeyError):
            return _state(parse_json(read_file(path, _LIMIT)))
        return None


def _state(values: Mapping[str, Any]) -> State | None:
    """The state of these values if they are of its kinds."""
    known = {field.name for field in fields(State)}
    texts = ("status", "cell", "method", "run", "protocol", "error")
    if set(values) != known or not all(isinstance(values[name], str) for name in texts):
        return None
    numbers = (values["seconds"], *values["lengths"], *([] if values["map"] is None else [values["map"]]))
    if values["status"] not in _STATUS or not all(type(each) in (int, float) for each in numbers):
        return None
    return State(**{**values, "lengths": tuple(values["lengths"])})


def cell_id(cell: Cell) -> str:
    """16 hex digits of all that may change a cell's run: settings, preset, version, the files it names."""
    settings, request = cell.settings, cell.request
    preset = str(request.single.get("preset", DEFAULT))
    places = [settings.get("data", {}).get("root"), settings.get("backbone", {}).get("weights")]
    text = canonical_json(
        {
            "settings": {key: value for key, value in settings.items() if key != "gpus"},
            "preset": read_preset(request.method, preset),
            "version": __version__,
            "files": [_stamp(str(place)) for place in places if place is not None],
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stamp(place: str) -> list[Any]:
    """Size and time of a file, or of what lies directly in a folder; nothing of a mere name.

    An image that is added to a class's folder shows in that folder's time.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        return [_sizes(entry) for entry in sorted(path.iterdir())[:_MANY_FILES] if entry.exists()]
    return _sizes(path) if path.is_file() else []


def _sizes(path: Path) -> list[Any]:
    status = path.stat()
    return [os.fsencode(path.name).hex(), status.st_size, status.st_mtime_ns]  # a name may not be UTF-8
