"""Looking after a store: what its runs take, whether their files are what was written, what can go."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fghash.errors import InputError
from fghash.files import checksum, is_temporary
from fghash.store.finished import finished
from fghash.store.parsing import read_json
from fghash.store.writing import write_text

CHECKSUMS, FAILURE = "checksums.json", "failure.json"
_CHECKED = ("codes", "items", "embeddings")  # folders whose files never change once a run is finished
_MODEL = ("model.safetensors", "model.json", "backbone.safetensors", "config.yaml")
_OLD = 24 * 3600  # seconds after which a temporary file belongs to nobody


@dataclass(frozen=True)
class RunState:
    """A run's folder: ``finished``, ``unfinished`` (no scores), ``failed`` (it stopped at a loss that is no
    number; ``fghash replay`` looks into it), or ``running`` (its lock names a process).

    Bytes of the whole folder and of its checkpoints; ``map`` of its first record; whether time ``cut`` it.
    """

    folder: Path
    state: str
    map: float | None
    n_bytes: int
    checkpoint_bytes: int
    cut: bool


def run_states(runs: Path) -> list[RunState]:
    """Every run below ``runs``, finished or not.

    Raises:
        InputError: there is no such folder.
    """
    return [_state(folder) for folder in _run_places(runs)]


def write_checksums(folder: Path) -> None:
    """Keep the SHA-256 of a run's codes, items, embeddings, model and config."""
    sums = {name: checksum(folder / name) for name in _checked_files(folder)}
    write_text(folder / CHECKSUMS, json.dumps(sums, indent=1, sort_keys=True) + "\n")


def problems(folder: Path) -> list[str]:
    """What is wrong with a run: a line for each file that is missing, changed or no record of it."""
    found = list(finished(folder).skipped)
    if not (folder / CHECKSUMS).is_file():
        return found
    try:
        sums = read_json(folder / CHECKSUMS)
        known = {str(name): str(value) for name, value in sums.items() if _inside(str(name))}
    except (InputError, AttributeError):
        return [*found, f"'{folder / CHECKSUMS}' is damaged"]
    for name, value in sorted(known.items()):
        path = folder / name
        if not _is_file(path):
            found.append(f"'{path}' is missing")
        elif checksum(path) != value:
            found.append(f"'{path}' is not what was written")
    return found


def finished_checkpoints(runs: Path) -> Iterator[tuple[Path, int]]:
    """Checkpoints of finished runs, which nobody needs to resume, with their bytes.

    A run that ``--trainer.max_time`` cut keeps its own: the same command without that limit trains on.
    """
    for state in run_states(runs):
        if state.state == "finished" and not state.cut:
            for path in sorted((state.folder / "checkpoints").glob("*.ckpt")):
                yield path, path.stat().st_size


def leftovers(runs: Path) -> Iterator[tuple[Path, int]]:
    """What killed processes left behind: temporary files older than a day, and stored backbones that no run
    links to.
    """
    _require_folder(runs)
    now = time.time()
    for path in sorted(runs.rglob(".*")):
        old = path.is_file() and not path.is_symlink() and now - path.stat().st_mtime > _OLD
        if old and (is_temporary(path) or path.name.startswith(".last.ckpt.")):
            yield path, path.stat().st_size
    for path in sorted((runs / ".backbones").glob("*.safetensors")):
        if path.stat().st_nlink == 1 and not _copied(runs, path):
            yield path, path.stat().st_size


def _copied(runs: Path, backbone: Path) -> bool:
    """Whether a run has a copy instead of a link (on a file system without links)."""
    size = backbone.stat().st_size
    return any(path.stat().st_size == size for path in runs.glob("*/*/*/*/backbone.safetensors"))


def _require_folder(runs: Path) -> None:
    if not runs.is_dir():
        raise InputError(f"runs: no such folder '{runs}'")


def _run_places(runs: Path) -> list[Path]:
    _require_folder(runs)
    return sorted(path for path in runs.glob("*/*/*/*") if path.is_dir() and not path.name.startswith("."))


def _state(folder: Path) -> RunState:
    records = finished(folder).records
    lock = folder / "lock"
    held = lock.is_file() and lock.stat().st_size > 0 and not records
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    checkpoints = sum(size for path, size in sizes.items() if path.suffix == ".ckpt")
    score = records[0].scores.get("map") if records else None
    failed = (folder / "checkpoints" / FAILURE).is_file()
    state = "finished" if records else "running" if held else "failed" if failed else "unfinished"
    number = float(score) if isinstance(score, int | float) else None
    cut = any(record.stopped_by_time for record in records)
    return RunState(folder, state, number, sum(sizes.values()), checkpoints, cut)


def _checked_files(folder: Path) -> list[str]:
    inside = [path for name in _CHECKED for path in sorted((folder / name).rglob("*")) if path.is_file()]
    inside += [folder / name for name in _MODEL if (folder / name).is_file()]
    return [path.relative_to(folder).as_posix() for path in inside if not is_temporary(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _inside(name: str) -> bool:
    """Whether a name in a file of checksums, which anybody may have written, stays below the run."""
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts
