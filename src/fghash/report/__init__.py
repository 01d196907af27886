"""Report: the leaderboard, a pure function of the store, and its tables."""

from fghash.report.comparison import beside_published, write_leaderboard
from fghash.report.grouping import leaderboard
from fghash.report.show import print_table
from fghash.report.writers import require_known_suffix, to_csv, to_latex, to_markdown, write_table

__all__ = [
    "beside_published",
    "leaderboard",
    "print_table",
    "require_known_suffix",
    "to_csv",
    "to_latex",
    "to_markdown",
    "write_leaderboard",
    "write_table",
]
