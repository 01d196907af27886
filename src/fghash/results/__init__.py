"""Results: the record of a run, the store of runs, and the leaderboard, a pure function of the store."""

from fghash.results.comparison import beside_published, write_leaderboard
from fghash.results.identity import group_id, run_id
from fghash.results.leaderboard import leaderboard
from fghash.results.provenance import environment
from fghash.results.record import Record, SkippedRecord
from fghash.results.show import print_table
from fghash.results.store import RunFolder, require_writable, run_folders
from fghash.results.writers import require_known_suffix, to_csv, to_latex, to_markdown, write_table

__all__ = [
    "Record",
    "RunFolder",
    "SkippedRecord",
    "beside_published",
    "environment",
    "group_id",
    "leaderboard",
    "print_table",
    "require_known_suffix",
    "require_writable",
    "run_folders",
    "run_id",
    "to_csv",
    "to_latex",
    "to_markdown",
    "write_leaderboard",
    "write_table",
]
