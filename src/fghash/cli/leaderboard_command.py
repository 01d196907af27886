"""``fghash leaderboard``: the store as a table; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fghash.cli.options import Options
from fghash.display import harmless

DESCRIPTION = """\
Write the leaderboard of all stored runs: one row per group of runs that differ only in the seed. Scores are
means over the seeds. Rows say the preset, the settings that differ from it, and the training budget; runs of
different budgets are never averaged.

  fghash leaderboard --runs runs --out leaderboard.csv --out leaderboard.md"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash leaderboard ARGV``; the exit status."""
    options = Options("leaderboard", DESCRIPTION)
    options.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the store (runs)")
    options.add_argument(
        "--out", type=Path, action="append", default=[], metavar="FILE",
        help="a .csv (every column and digit), .md or .tex file to write; several are allowed",
    )  # fmt: skip
    options.add_argument("--protocol", metavar="NAME", help="only its scores, e.g. fghash-1@1,10,100")
    options.add_argument(
        "--published", action="store_true",
        help="add the rows that papers report for the same data and bits, and mark what differs",
    )  # fmt: skip
    given = options.read(argv)
    from fghash.report import print_table, require_known_suffix, write_leaderboard

    for out in given.out:
        require_known_suffix(out)
    print_table(write_leaderboard(given.runs, given.out, given.protocol, published=given.published))
    for out in given.out:
        print(f"leaderboard: {harmless(str(out))}")
    return 0
