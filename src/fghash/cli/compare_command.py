"""``fghash compare``: paired tests between two stored runs, or between all rows of a store; no torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.options import Options, add_cutoffs, at_least
from fghash.cli.output import nothing_to_score, require_json, write_rows
from fghash.cli.stored import Kind, finished, groups_of, in_words
from fghash.display import harmless
from fghash.errors import InputError
from fghash.settings.sources import notice

if TYPE_CHECKING:
    from fghash.report.whole_table import AverageRanks, Pair
    from fghash.store import Record

    Run = dict[Kind, Record]

DESCRIPTION = """\
Compare two runs of the store on the same data: for each score the difference b - a, its 95 % interval over
queries, and the p value of a paired test. Codes of equal length, of the network or learned, are compared.

  fghash compare runs/synthetic/hashnet/32/ID runs/synthetic/phpq/32/ID --json out.json

With --runs, compare every pair of comparable rows of a whole store, the p values corrected over all of them
(Holm), and the methods' average ranks over all data sets, lengths and networks, with the critical difference
(Friedman, Nemenyi) below which two ranks do not differ.

  fghash compare --runs runs --plot ranks.png --json out.json"""

_SHOWN = 40  # pairs that are printed


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash compare ARGV``; the exit status."""
    options = Options("compare", DESCRIPTION)
    options.add_argument("run_a", type=Path, nargs="?", metavar="RUN_A", help="the folder of a run")
    options.add_argument("run_b", type=Path, nargs="?", metavar="RUN_B", help="the folder of another")
    options.add_argument("--runs", type=Path, metavar="DIR", help="compare all rows of this store")
    options.add_argument(
        "--plot", type=Path, metavar="FILE", help="with --runs: the critical-difference diagram, .png or .svg"
    )
    add_cutoffs(options)
    options.add_argument(
        "--samples", type=at_least(100), default=10000, metavar="N",
        help="random draws behind intervals and p values (10000)",
    )  # fmt: skip
    options.add_argument("--json", type=Path, metavar="FILE", help="write the comparison there")
    given = options.read(argv)
    require_json(given.json)
    _require_one_kind(given)
    if given.runs is not None:
        return _whole_table(given.runs, given.plot, given.json)
    rows = list(_compared(given.run_a, given.run_b, tuple(given.cutoffs), given.samples))
    if given.json:
        write_rows(given.json, rows)
    return nothing_to_score() if any(row["n_queries"] == 0 for row in rows) else 0


def _require_one_kind(given: argparse.Namespace) -> None:
    """Two runs, or a store."""
    if given.runs is not None and given.run_a is not None:
        raise InputError(f"compare: --runs {given.runs} and '{given.run_a}', expected two runs or one store")
    if given.runs is None and given.run_b is None:
        raise InputError("compare: two runs are required, or --runs for a whole store")
    if given.plot is not None and given.runs is None:
        raise InputError("compare: --plot is of a whole store, give --runs")
    if given.plot is not None and given.plot.suffix not in (".png", ".svg"):
        raise InputError(f"--plot: '{given.plot}', expected a name that ends in .png or .svg")


def _whole_table(runs: Path, plot: Path | None, out: Path | None) -> int:
    from fghash.evaluation import write_json
    from fghash.report.significance import ranked_rows
    from fghash.report.whole_table import average_ranks, draw_ranks, groups_of_equals, pairs

    tested = ranked_rows(runs)
    found, ranks = pairs(tested), average_ranks(tested)
    for line in [*_ranks_in_words(ranks, groups_of_equals(ranks)), "", *_pairs_in_words(found)]:
        print(harmless(line))
    if plot is not None:
        draw_ranks(ranks, plot)
        notice(f"plot: {plot}")
    if out is not None:
        write_json(out, {"ranks": vars(ranks), "pairs": [vars(pair) for pair in found]})
    return 0 if found else nothing_to_score()


def _ranks_in_words(found: AverageRanks, equals: list[list[str]]) -> Iterator[str]:
    if not found.ranks:
        yield "average ranks: no two methods share a block"
        return
    yield f"average rank by mAP over {found.n_blocks} blocks (data, bits, network, budget)"
    yield from (f"  {name:<12} {rank:.2f}" for name, rank in found.ranks.items())
    if found.p_value is not None:
        yield f"Friedman: p {found.p_value:.4g}"
    if found.critical is not None:
        yield f"critical difference (Nemenyi, 5 %): {found.critical:.2f}"
        yield from (f"  not separated: {', '.join(group)}" for group in equals)


def _pairs_in_words(found: list[Pair]) -> Iterator[str]:
    differ = sum(pair.corrected <= 0.05 for pair in found)
    yield f"{len(found)} pairs, {differ} of them differ at 5 % after Holm's correction"
    block = ""
    for pair in found[:_SHOWN]:
        if pair.block != block:
            block = pair.block
            yield block
        mark = "*" if pair.corrected <= 0.05 else " "
        tested = f"{pair.difference:+.4f}, d {pair.effect:+.2f}, p {pair.corrected:.4g}"
        yield f" {mark} {pair.b} - {pair.a}: {tested}"
    if len(found) > _SHOWN:
        yield f"... and {len(found) - _SHOWN} more (--json FILE has them)"


def _compared(path_a: Path, path_b: Path, cutoffs: tuple[int, ...], samples: int) -> Iterator[dict[str, Any]]:
    """The comparison of each kind of codes that both runs have, printed as soon as it is there."""
    from fghash.evaluation import RetrievalProtocol, compare, format_comparison

    protocol = RetrievalProtocol(cutoffs=cutoffs)
    a, b = finished(path_a), finished(path_b)
    _require_same_data(a, b)
    for kind in _common(a, b):
        groups = groups_of(path_a, kind), groups_of(path_b, kind)
        comparison = compare(*groups, protocol, samples=samples)
        print(f"{in_words(kind)} codes: a is {a[kind].method}, b is {b[kind].method}")
        print(format_comparison(comparison), end="\n\n")
        about = {"run_a": str(path_a), "run_b": str(path_b), "bits": kind[0], "gallery_codes": kind[1]}
        yield {**about, **comparison}


def _require_same_data(a: Run, b: Run) -> None:
    first, second = next(iter(a.values())), next(iter(b.values()))
    if first.data_fingerprint != second.data_fingerprint:
        of_each = (f"{each.data} {each.data_fingerprint}" for each in (first, second))
        raise InputError(f"compare: the runs are of different data ({' and '.join(of_each)})")


def _common(a: Run, b: Run) -> list[Kind]:
    common = sorted(a.keys() & b.keys())
    if not common:
        of_each = (", ".join(map(in_words, sorted(run))) for run in (a, b))
        raise InputError(f"compare: no codes of equal kind, the runs have {' and '.join(of_each)}")
    return common
