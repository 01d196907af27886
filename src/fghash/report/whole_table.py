"""Methods compared over a whole table: pairs within each block, average ranks over all blocks.

A block is what is comparable: data, bits, protocol, gallery codes and training budget. Within a block every
pair of rows is tested over queries, with Holm's correction over all pairs of the table. Over the blocks,
Friedman's test asks whether the methods differ at all, and Nemenyi's critical difference which average ranks
do (Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fghash.errors import InputError
from fghash.files import replacing
from fghash.report.significance import COMPARABLE, LEVEL, RankedRows, blocks_of, holm, tested_pairs

_Block = tuple[Any, ...]


@dataclass(frozen=True)
class Pair:
    """Two rows of a block.

    ``difference``: mean of b - a over queries; ``effect``: that in standard deviations of the differences
    (Cohen's d for pairs); ``p_value`` of the paired randomisation test, ``corrected`` by Holm over the table.
    """

    block: str
    a: str
    b: str
    difference: float
    effect: float
    p_value: float
    corrected: float


@dataclass(frozen=True)
class AverageRanks:
    """Methods over the blocks that have all of them, rank 1 being the best.

    ``critical``: the difference of two average ranks above which they differ at 5 % (Nemenyi); ``p_value`` of
    Friedman's test; both ``None`` with fewer than two blocks or methods.
    """

    ranks: Mapping[str, float]
    n_blocks: int
    critical: float | None
    p_value: float | None


def pairs(tested: RankedRows) -> list[Pair]:
    """Every pair of comparable rows, the p values corrected over all of them (Holm 1979)."""
    found = [pair for rows in _blocks(tested).values() for pair in _pairs_of(tested, rows)]
    corrected = holm([pair.p_value for pair in found])
    return [Pair(**{**vars(pair), "corrected": value}) for pair, value in zip(found, corrected, strict=True)]


def average_ranks(tested: RankedRows) -> AverageRanks:
    """Average ranks by mAP of network codes, over the blocks that have all of the methods ranked.

    Of the sets of methods that some block has, that one is ranked for which methods times blocks are most. A
    method with several rows in a block counts with its best, so that variants do not crowd out others.
    """
    blocks = [rows for block, rows in _blocks(tested).items() if "network" in block]
    scores = [_best_scores(tested, rows) for rows in blocks]
    methods, scores = _shared(scores)
    if not methods:
        return AverageRanks({}, 0, None, None)
    table = np.array([[each[method] for method in methods] for each in scores])
    from scipy.stats import rankdata

    ranks = rankdata(-table, axis=1)
    means = dict(zip(methods, ranks.mean(axis=0).tolist(), strict=True))
    ordered = dict(sorted(means.items(), key=lambda item: item[1]))
    return AverageRanks(
        ordered, len(scores), critical_difference(len(methods), len(scores)), _friedman(table)
    )


def critical_difference(n_methods: int, n_blocks: int) -> float | None:
    """Nemenyi's, at 5 %: q sqrt(k (k + 1) / 6 N), q of the studentised range over sqrt(2) (Demsar 2006)."""
    if n_blocks < 2:
        return None
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - LEVEL, n_methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks))


def groups_of_equals(found: AverageRanks) -> list[list[str]]:
    """The largest sets of neighbours in rank that the critical difference does not separate."""
    names, critical = list(found.ranks), found.critical or math.inf
    spans: list[tuple[int, int]] = []
    for i, name in enumerate(names):
        last = max(j for j, each in enumerate(names) if found.ranks[each] - found.ranks[name] <= critical)
        if last > i and not any(start <= i and last <= end for start, end in spans):
            spans.append((i, last))
    return [names[start : end + 1] for start, end in spans]


def draw_ranks(found: AverageRanks, path: Path) -> None:
    """The critical-difference diagram: average ranks on a line, bars over what is not separated.

    Raises:
        InputError: no method to draw, or the file cannot be written.
    """
    if not found.ranks:
        raise InputError("compare: no two methods share a block, nothing to draw")
    from matplotlib.figure import Figure

    names = list(found.ranks)
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for i, name in enumerate(names):
        rank = found.ranks[name]
        axes.plot([rank, rank, len(names) + 0.3], [0, -i - 1, -i - 1], color="0.3", linewidth=1)
        axes.text(len(names) + 0.4, -i - 1, f"{name} ({rank:.2f})", va="center")
    for i, group in enumerate(groups_of_equals(found)):
        ends = [found.ranks[group[0]] - 0.03, found.ranks[group[-1]] + 0.03]
        axes.plot(ends, [-0.25 - 0.18 * i] * 2, color="black", linewidth=4, solid_capstyle="round")
    title = f"average rank over {found.n_blocks} blocks"
    if found.critical is not None:
        title += f", critical difference {found.critical:.2f}"
    axes.set(xlim=(0.8, len(names) + 2.5), ylim=(-len(names) - 1, 0.4), title=title, yticks=[])
    axes.set_xticks(range(1, len(names) + 1))
    axes.xaxis.tick_top()
    for side in ("left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    with replacing(path, "--plot") as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix.removeprefix(".") or "png")


def _blocks(tested: RankedRows) -> dict[_Block, list[int]]:
    return blocks_of(tested.rows, tested.precisions, (*COMPARABLE, "backbone"))


def _pairs_of(tested: RankedRows, rows: Sequence[int]) -> Iterator[Pair]:
    values = tested.rows[rows[0]].values
    name = f"{values['data']}, {values['bits']} bits, {values['backbone']}, {values['gallery_codes']} codes"
    for (i, j), p_value in tested_pairs({i: tested.precisions[i] for i in rows}).items():
        gap = _precision(tested, j) - _precision(tested, i)
        spread = float(gap.std(ddof=1)) if len(gap) > 1 else 0.0
        effect = float(gap.mean()) / spread if spread else 0.0
        a, b = (_label(tested, each, rows) for each in (i, j))
        yield Pair(name, a, b, float(gap.mean()), effect, p_value, 1.0)


def _precision(tested: RankedRows, i: int) -> np.ndarray:
    values = tested.precisions[i]
    assert values is not None
    return values


def _label(tested: RankedRows, i: int, rows: Sequence[int]) -> str:
    """The method, and where its block has several rows of it the settings that tell them apart."""
    values = tested.rows[i].values
    alone = [tested.rows[j].values["method"] for j in rows].count(values["method"]) == 1
    return str(values["method"]) if alone else f"{values['method']} {values['variant']}".strip()


def _shared(scores: list[dict[str, float]]) -> tuple[list[str], list[dict[str, float]]]:
    """The methods to rank, and the blocks that have all of them."""
    choices = {frozenset(each) for each in scores if len(each) > 1}
    having = {choice: [each for each in scores if choice <= each.keys()] for choice in choices}
    if not choices:
        return [], []
    best = max(choices, key=lambda choice: (len(choice) * len(having[choice]), sorted(choice)))
    return sorted(best), having[best]


def _best_scores(tested: RankedRows, rows: Sequence[int]) -> dict[str, float]:
    best: dict[str, float] = {}
    for i in rows:
        method, score = str(tested.rows[i].values["method"]), float(_precision(tested, i).mean())
        best[method] = max(best.get(method, -math.inf), score)
    return best


def _friedman(table: np.ndarray) -> float | None:
    """Of Friedman's test, which needs three methods and two blocks."""
    if table.shape[0] < 2 or table.shape[1] < 3:
        return None
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*table.T).pvalue)
