"""What the scoring commands print and write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.settings.sources import notice


def print_scores(row: Mapping[str, Any]) -> None:
    """One line a score, with its interval where ``row["intervals"]`` has one, and an empty line."""
    intervals = row.get("intervals", {})
    for name, value in row.items():
        if name != "intervals":
            print(f"{name:<30} {_shown(value)}{_between(intervals.get(name))}")
    print()


def require_json(path: Path | None, *inputs: Path | None) -> None:
    """Refuse, before any work, a place that cannot be written, and to write over what is read.

    Raises:
        InputError: ``path`` is a folder or in none, is one of the inputs, or named as codes are.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"--json: '{path}' is a folder, expected a file")
    if not path.parent.is_dir():
        raise InputError(f"--json: there is no folder '{path.parent}' to write '{path.name}' in")
    if path.suffix == ".npz":
        raise InputError(f"--json: '{path}' is a name of codes, expected e.g. {path.with_suffix('.json')}")
    if path.exists() and any(each is not None and each.exists() and path.samefile(each) for each in inputs):
        raise InputError(f"--json: '{path}' is read as well, expected another file")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A single row lies at the top level of the JSON; several are its ``records``.

    Raises:
        InputError: the file cannot be written.
    """
    from fghash.evaluation import write_json

    write_json(path, {"records": list(rows)} if len(rows) > 1 else rows[0])


def nothing_to_score() -> int:
    """Say so; the exit status."""
    notice("no query has a relevant gallery item: nothing to score")
    return 2


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)


def _between(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"  95 %: {interval[0]:.6f} to {interval[1]:.6f}"
