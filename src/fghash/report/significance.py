"""Ranks that say no more than the queries do: rows share a rank where a paired test cannot separate them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fghash.errors import InputError
from fghash.evaluation.group_scores import scores_by_query
from fghash.evaluation.intervals import mean_interval, paired_p_values
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.report.costs import costs
from fghash.report.grouping import Member, Row, frame_of, members_of, rows_of
from fghash.store import RunFolder
from fghash.store.record import BUDGET

LEVEL = 0.05
COMPARABLE = ("data", "data_fingerprint", "bits", "protocol", "gallery_codes", *BUDGET[:3], "stopped_by_time")

_Pair = tuple[int, int]


@dataclass(frozen=True)
class RankedRows:
    """Rows of a leaderboard, tested against each other.

    Args:
        rows: with ``rank``, ``map_low``, ``map_high`` and the costs among their values.
        precisions: average precision (q,) of the queries of each row that have a relevant item, the mean over
            its seeds; ``None`` of a row whose runs store no tie groups.
    """

    rows: list[Row]
    precisions: list[np.ndarray | None]

    @property
    def frame(self) -> pd.DataFrame:
        """The leaderboard."""
        return frame_of(row.values for row in self.rows)


def ranked_rows(runs: Path, wanted: Iterable[tuple[str, int]] | None = None) -> RankedRows:
    """The rows of all runs, or of ``wanted``: (path, bits), with intervals over queries and ranks.

    ``rank``: one more than the number of comparable rows that are better by a paired randomisation test over
    queries, its p values corrected over all pairs of the table (Holm), at 5 %. ``map_low``, ``map_high``: the
    95 % bootstrap interval over queries, of the mean over seeds. Empty where a run stores no tie groups.

    Raises:
        InputError: there is no folder ``runs``.
    """
    chosen = None if wanted is None else set(wanted)
    members = [each for each in members_of(runs) if chosen is None or (each.path, each.record.bits) in chosen]
    rows = rows_of(members)
    precisions = [_precisions(runs, row.members) for row in rows]
    ranks = _ranks(rows, precisions)
    return RankedRows(
        [
            Row(
                {**row.values, "rank": rank, **_interval(values), **_costs(runs, row.members[0])}, row.members
            )
            for row, values, rank in zip(rows, precisions, ranks, strict=True)
        ],
        precisions,
    )


def _costs(runs: Path, member: Member) -> dict[str, float | int | None]:
    """Of the first seed's run: they hardly differ between seeds."""
    return costs(RunFolder(runs / member.path), member.record)


def better(p_values: Mapping[_Pair, float]) -> set[_Pair]:
    """The pairs that differ at 5 % after Holm's correction over all of them (Holm 1979).

    >>> sorted(better({(0, 1): 0.01, (0, 2): 0.04, (1, 2): 0.03}))
    [(0, 1)]
    """
    corrected = holm(list(p_values.values()))
    return {pair for pair, value in zip(p_values, corrected, strict=True) if value <= LEVEL}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(order) - place)))
        corrected[i] = largest
    return corrected


def blocks_of(
    rows: Sequence[Row], precisions: Sequence[np.ndarray | None], names: Sequence[str]
) -> dict[tuple[Any, ...], list[int]]:
    """The rows that agree in the columns ``names``, by their values; rows without tie groups are in none."""
    blocks: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if precisions[i] is not None:
            blocks[tuple(row.values[name] for name in names)].append(i)
    return blocks


def _precisions(runs: Path, members: Sequence[Member]) -> np.ndarray | None:
    """Average precision of each query (q), the mean over the seeds; ``None`` where it cannot be had."""
    values = []
    for member in members:
        record = member.record
        try:
            groups = RunFolder(runs / member.path).read_groups(record.bits, record.gallery_codes)
        except InputError:
            groups = None
        if groups is None:
            return None
        values.append(scores_by_query(groups, RetrievalProtocol())["map"][groups.n_relevant > 0])
    same = len({len(each) for each in values}) == 1
    return np.mean(values, axis=0) if same and len(values[0]) else None


def _interval(values: np.ndarray | None) -> dict[str, float | None]:
    low, high = (None, None) if values is None else mean_interval(values)
    return {"map_low": low, "map_high": high}


def _ranks(rows: Sequence[Row], precisions: Sequence[np.ndarray | None]) -> list[int | None]:
    """One more than the number of rows that are better for sure; ``None`` of a row without tie groups."""
    p_values: dict[_Pair, float] = {}
    for block in blocks_of(rows, precisions, COMPARABLE).values():
        p_values |= tested_pairs({i: precisions[i] for i in block})
    losses = [0 if values is not None else None for values in precisions]
    for a, b in better(p_values):
        first, second = precisions[a], precisions[b]
        assert first is not None
        assert second is not None
        loser = b if first.mean() > second.mean() else a
        losses[loser] = (losses[loser] or 0) + 1
    return [None if lost is None else lost + 1 for lost in losses]


def tested_pairs(precisions: Mapping[int, np.ndarray | None]) -> dict[_Pair, float]:
    """The p value of every pair of rows that have the same queries."""
    known = {i: values for i, values in precisions.items() if values is not None}
    pairs = [(i, j) for i, j in combinations(known, 2) if len(known[i]) == len(known[j])]
    sizes = {len(known[i]) for i, _ in pairs}
    found: dict[_Pair, float] = {}
    for size in sorted(sizes):
        alike = [pair for pair in pairs if len(known[pair[0]]) == size]
        gaps = np.stack([known[j] - known[i] for i, j in alike], axis=1)
        found |= dict(zip(alike, paired_p_values(gaps).tolist(), strict=True))
    return found
