"""The leaderboard, a pure function of the store: one row per group of runs that differ only in the seed."""

from __future__ import annotations

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fghash.display import harmless
from fghash.errors import InputError
from fghash.report.cells import is_missing
from fghash.report.costs import COSTS
from fghash.settings.variants import variant
from fghash.store.index import stored_runs
from fghash.store.record import BUDGET, DATA_COUNTS, Record, Score, SkippedRecord

LEADING = ("data", "method", "bits", "backbone", "gallery_codes", "seeds", "map", "map_std")
TESTED = ("rank", "map_low", "map_high")  # behind them, where the rows were tested against each other
SECOND = ("data_fingerprint", "trained_bits", "preset", "trials", "variant", "selection", "protocol", *BUDGET)
ALWAYS = ("map_real", "map_real_std")
CLOSING = (*DATA_COUNTS, "notes", "data_description", "group")

_NUMBERS = {"bits", "trained_bits", "trials", *BUDGET, *DATA_COUNTS}
_TEXT = {name for name in (*LEADING[:5], *SECOND, *CLOSING) if name not in _NUMBERS}
_SPREAD = ("map", "map_real", "map_within_family")  # the scores whose standard deviation has a column
_WHOLE = re.compile(
    r"n_.*|rank|seeds|bits|trained_bits|trials|epochs|image_passes|batch_size|.*_in_gallery|truncated_.*"
)


class Member(NamedTuple):
    """A record, the config of its run where one is stored, and the run's path below the store."""

    record: Record
    config: Mapping[str, Any] | None
    path: str = ""


class Row(NamedTuple):
    """A row of the leaderboard, by column, and the records that it is the mean of."""

    values: dict[str, Any]
    members: list[Member]


def leaderboard(runs: Path, protocol: str | None = None) -> pd.DataFrame:
    """Every finished group below ``runs``; ``map`` and all other scores are means over its seeds.

    Columns: ``LEADING``, ``SECOND``, ``map_real``, ``map_real_std``, the other scores by name, ``CLOSING``.
    Rows of different protocols are never averaged, nor rows of different training budgets; those of one
    protocol lie together. ``variant`` is relative to the preset as it is today.

    Raises:
        InputError: there is no folder ``runs``, or nothing in it was scored under ``protocol``.
    """
    members = list(members_of(runs))
    chosen = [member for member in members if protocol in (None, member.record.protocol)]
    if protocol is not None and not chosen:
        known = sorted({member.record.protocol for member in members})
        raise InputError(
            f"protocol: nothing in '{runs}' under '{protocol}' (known: {', '.join(known) or 'none'})"
        )
    return table(chosen)


def table(members: Iterable[Member]) -> pd.DataFrame:
    """The leaderboard of these records."""
    return frame_of(row.values for row in rows_of(members))


def rows_of(members: Iterable[Member]) -> list[Row]:
    """The rows of these records, best first among the comparable ones."""
    groups: dict[tuple[Any, ...], list[Member]] = defaultdict(list)
    for member in members:
        groups[_group_key(member.record)].append(member)
    variants: dict[tuple[str, ...], str] = {}
    rows = [Row(_row(members, variants), members) for members in groups.values()]
    return sorted(rows, key=lambda row: _rank(row.values))


def frame_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The leaderboard of these rows, its columns in order and typed."""
    rows = list(rows)
    return _typed(pd.DataFrame(rows, columns=_columns(rows), dtype=object))


def members_of(runs: Path) -> Iterator[Member]:
    """The records of all runs, each once: a run that lies in two folders would count twice in a mean.

    Raises:
        InputError: there is no such folder.
    """
    seen = set()
    for run in stored_runs(runs):
        for line in run.skipped:
            warnings.warn(line, SkippedRecord, stacklevel=4)
        for record in run.records:
            key = (record.data, record.run, record.bits, record.gallery_codes, record.protocol)
            if key in seen:
                line = f"skipped a second copy of run {record.run}: '{harmless(run.path)}'"
                warnings.warn(line, SkippedRecord, stacklevel=4)
                continue
            seen.add(key)
            yield Member(record, run.config, run.path)


def _group_key(record: Record) -> tuple[Any, ...]:
    budget = (record.epochs, record.image_passes, record.batch_size, record.stopped_by_time)
    scored = (record.data, record.data_fingerprint, record.gallery_codes, record.bits, record.protocol)
    return (record.group, record.preset, *scored, *budget)


def _row(members: list[Member], variants: dict[tuple[str, ...], str]) -> dict[str, Any]:
    members = sorted(members, key=lambda member: (member.record.seed, member.record.run))
    first, records = members[0].record, [member.record for member in members]
    row: dict[str, Any] = {name: getattr(first, name) for name in _OF_RECORD}
    row["seeds"] = len(members)
    row["variant"] = _variant(members[0], variants)
    for name in ("train_seconds", *DATA_COUNTS):
        row[name] = _mean([getattr(record, name) for record in records])
    for name in {name for record in records for name in record.scores} - {"bits", "protocol"} | {
        *_SPREAD[:2]
    }:
        row[name] = _mean([record.scores.get(name) for record in records])
    for name in _SPREAD:
        if name in row:
            row[f"{name}_std"] = _deviation([record.scores.get(name) for record in records])
    return row


def _variant(member: Member, variants: dict[tuple[str, ...], str]) -> str:
    """The variant of a run's settings, computed once for all its records."""
    record, config = member.record, member.config
    if config is None:
        return record.variant
    key = (record.group, record.preset, record.variant)
    if key not in variants:
        variants[key] = variant(config, record.variant)
    return variants[key]


def _mean(values: list[Score]) -> Score:
    """Mean, or ``None`` where a run has no such score; a count that all runs share stays a count."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if len(set(known)) == 1 and (len(known) == 1 or all(isinstance(value, int) for value in known)):
        return known[0]
    return math.fsum(known) / len(known)


def _deviation(values: list[Score]) -> float | None:
    """Standard deviation with one degree of freedom lost to the mean; ``None`` for a single run."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or len(values) == 1:
        return None
    mean = math.fsum(known) / len(known)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    comparable = (row["data"], row["data_fingerprint"], row["bits"], row["protocol"])
    learned = (row["gallery_codes"] != "network", row["gallery_codes"])
    score = -math.inf if row["map"] is None else row["map"]
    tied = (row["method"], row["backbone"], row["preset"], row["variant"], row["group"])
    longest_first = tuple(-(row[name] or 0) for name in ("image_passes", "epochs"))
    budget = tuple(-1 if row[name] is None else row[name] for name in BUDGET if name != "train_seconds")
    return (*comparable, *learned, *longest_first, -score, *tied, *budget)


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    present = {name for row in rows for name in row}
    leading = [*LEADING, *(name for name in TESTED if name in present)]
    costs = [name for name in COSTS if name in present]
    scores = present - {*leading, *SECOND, *ALWAYS, *costs, *CLOSING}
    return [*leading, *SECOND, *ALWAYS, *costs, *sorted(scores, key=_natural), *CLOSING]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts ``precision_at_9`` before ``precision_at_10``."""
    parts = re.split(r"([0-9]+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts if part]


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Text, whole numbers and reals, so that an empty cell is empty and a count has no decimal point."""
    kinds = {name: "float64" for name in frame.columns if name not in _TEXT}
    kinds |= {name: "Int64" for name in kinds if _WHOLE.fullmatch(name) and _is_whole(frame[name])}
    return frame.astype({**kinds, "stopped_by_time": "boolean"})


def _is_whole(column: pd.Series) -> bool:
    return all(is_missing(value) or float(value).is_integer() for value in column)


_OF_RECORD = [name for name in (*LEADING, *SECOND, *CLOSING) if name in Record.__dataclass_fields__]
