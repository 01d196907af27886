"""The leaderboard, a pure function of the store: one row per group of runs that differ only in the seed."""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from fghash.errors import InputError
from fghash.store.folder import run_folders
from fghash.store.record import Record, Score

LEADING = ("data", "method", "bits", "backbone", "gallery_codes", "seeds", "map", "map_std")
SECOND = ("data_fingerprint", "trained_bits", "variant", "selection", "protocol")
ALWAYS = ("map_real", "map_real_std")
CLOSING = ("notes", "data_description", "group")

_SPREAD = {"map", "map_real", "map_within_family"}  # the scores whose standard deviation has a column
_WHOLE = re.compile(r"(n_.*|seeds|bits|trained_bits)")


def leaderboard(runs: Path, protocol: str | None = None) -> pd.DataFrame:
    """Every finished group below ``runs``; ``map`` and all other scores are means over its seeds.

    Columns: ``LEADING``, ``SECOND``, ``map_real``, ``map_real_std``, the other scores by name, ``CLOSING``.
    Rows of different protocols never meet in a mean, and those of one protocol lie together.

    Raises:
        InputError: there is no folder ``runs``, or nothing in it was scored under ``protocol``.
    """
    records = [record for folder in run_folders(runs) for record in folder.records(protocol)]
    if protocol is not None and not records:
        known = sorted({record.protocol for folder in run_folders(runs) for record in folder.records()})
        raise InputError(
            f"protocol: nothing in '{runs}' under '{protocol}' (known: {', '.join(known) or 'none'})"
        )
    return table(records)


def table(records: Iterable[Record]) -> pd.DataFrame:
    """The leaderboard of these records."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[_group_key(record)].append(record)
    rows = sorted((_row(members) for members in groups.values()), key=_rank)
    return _typed(pd.DataFrame(rows, columns=_columns(rows), dtype=object))


def _group_key(record: Record) -> tuple[Any, ...]:
    return (record.group, record.data_fingerprint, record.gallery_codes, record.bits, record.protocol)


def _row(members: list[Record]) -> dict[str, Any]:
    members = sorted(members, key=lambda record: (record.seed, record.run))
    first = members[0]
    row: dict[str, Any] = {
        name: getattr(first, name) for name in (*LEADING, *SECOND, *CLOSING) if hasattr(first, name)
    }
    row["seeds"] = len(members)
    names = {name for record in members for name in record.scores} - {"bits", "protocol"}
    for name in names | {"map", "map_real"}:
        values = [record.scores.get(name) for record in members]
        row[name] = _mean(values)
        if name in _SPREAD:
            row[f"{name}_std"] = _deviation(values)
    return row


def _mean(values: list[Score]) -> Score:
    """Mean, or ``None`` where a run has no such score; a count that all runs share stays a count."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if all(isinstance(value, int) for value in known) and len(set(known)) == 1:
        return known[0]
    return math.fsum(known) / len(known)


def _deviation(values: list[Score]) -> float | None:
    """Standard deviation with one degree of freedom lost to the mean; ``None`` for a single run."""
    known = [float(value) for value in values if value is not None]
    return statistics.stdev(known) if len(known) == len(values) > 1 else None


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    comparable = (row["data"], row["data_fingerprint"], row["bits"], row["protocol"])
    learned = (row["gallery_codes"] != "network", row["gallery_codes"])
    score = -math.inf if row["map"] is None else row["map"]
    return (*comparable, *learned, -score, row["method"], row["backbone"], row["variant"], row["group"])


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    fixed = (*LEADING, *SECOND, *ALWAYS, *CLOSING)
    scores = {name for row in rows for name in row} - set(fixed)
    return [*LEADING, *SECOND, *ALWAYS, *sorted(scores, key=_natural), *CLOSING]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts ``precision_at_9`` before ``precision_at_10``."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts if part]


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Text, whole numbers and reals, so that an empty cell is empty and a count has no decimal point."""
    text = {"data", "method", "backbone", "gallery_codes", *SECOND, *CLOSING} - {"trained_bits"}
    kinds = {name: "float64" for name in frame.columns if name not in text}
    kinds |= {name: "Int64" for name in kinds if _WHOLE.fullmatch(name) and _is_whole(frame[name])}
    return frame.astype(kinds)


def _is_whole(column: pd.Series) -> bool:
    return all(value is None or float(value).is_integer() for value in column)
