"""What a table leaves: its leaderboard in every format, and its cells."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from fghash import __version__, store
from fghash.bench.plan import Plan
from fghash.errors import InputError
from fghash.report import write_table
from fghash.report.cells import no_formula
from fghash.settings.identity import canonical_json
from fghash.store.writing import write_text

_LEADERBOARDS = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")
_STAMP = ".stamp"


def write_outputs(plan: Plan, out: Path) -> list[Path]:
    """Write leaderboard, report and cells below ``out``, unless they are there for just these cells.

    Returns:
        The files.

    Raises:
        InputError: the folder cannot be written.
    """
    files = [out / name for name in (*_LEADERBOARDS, "report.html", "cells.csv")]
    stamp = _stamp(plan)
    if _read(out / _STAMP) == stamp and all(path.is_file() for path in files):
        return files
    from fghash.bench.reporting import write_report  # imports the evaluator and the data sets

    lacking = _lacking(plan)
    wanted = {(each.run, each.cell.bits) for each in plan.cells if each.run}
    frame = write_report(plan.ledger.runs, wanted, files[-2], plan.table.name, lacking)
    for path in files[:-2]:
        write_table(frame, path, lacking)
    write_text(files[-1], _cells(plan))
    write_text(out / _STAMP, stamp)
    return files


def require_writable(out: Path) -> None:
    """Fail before any training.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        store.require_writable(out)
    except (InputError, OSError) as error:
        raise InputError(f"--out: cannot write below '{out}' ({error})") from error


def _lacking(plan: Plan) -> list[str]:
    """A line for each cell that has no scores."""
    return [
        f"{each.cell.shown}: {each.status}" + (f": {each.state.error}" if each.state else "")
        for each in plan.lacking()
    ]


def _cells(plan: Plan) -> str:
    """Every cell with its provenance, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("cell", "id", "status", "run", "map", "seconds", "error"))
    for row in _rows(plan):
        writer.writerow([no_formula(str(value)) for value in row])
    return text.getvalue()


def _rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    for each in plan.cells:
        state = each.state
        numbers = ("", "") if state is None else (_number(state.map), _number(state.seconds or None))
        yield (each.cell.shown, each.name, each.status, each.run, *numbers, state.error if state else "")


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _stamp(plan: Plan) -> str:
    cells = [[each.name, each.status, each.run] for each in plan.cells]
    markers = [
        [path.name, path.stat().st_mtime_ns]
        for run in plan.runs()
        for path in sorted((plan.ledger.runs / run / "finished").glob("*.json"))
    ]
    text = canonical_json([__version__, plan.table.name, cells, markers])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
