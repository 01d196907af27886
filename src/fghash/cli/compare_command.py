"""``fghash compare``: a paired test between two stored runs on the same queries; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.options import Options, add_cutoffs, at_least
from fghash.cli.output import nothing_to_score, require_json, write_rows
from fghash.cli.stored import Kind, finished, groups_of, in_words
from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.store import Record

    Run = dict[Kind, Record]

DESCRIPTION = """\
Compare two runs of the store on the same data: for each score the difference b - a, its 95 % interval over
queries, and the p value of a paired test. Codes of equal length, of the network or learned, are compared.

  fghash compare runs/synthetic/hashnet/32/ID runs/synthetic/phpq/32/ID --json out.json"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash compare ARGV``; the exit status."""
    options = Options("compare", DESCRIPTION)
    options.add_argument("run_a", type=Path, metavar="RUN_A", help="the folder of a run")
    options.add_argument("run_b", type=Path, metavar="RUN_B", help="the folder of another")
    add_cutoffs(options)
    options.add_argument(
        "--samples", type=at_least(100), default=10000, metavar="N",
        help="random draws behind intervals and p values (10000)",
    )  # fmt: skip
    options.add_argument("--json", type=Path, metavar="FILE", help="write the comparison there")
    given = options.read(argv)
    require_json(given.json)
    rows = list(_compared(given.run_a, given.run_b, tuple(given.cutoffs), given.samples))
    if given.json:
        write_rows(given.json, rows)
    return nothing_to_score() if any(row["n_queries"] == 0 for row in rows) else 0


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
