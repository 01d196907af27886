"""``fghash report``: the store as a page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fghash.cli.options import Options
from fghash.display import harmless
from fghash.errors import InputError

DESCRIPTION = """\
Write one HTML file that needs no network: the leaderboard, sortable and filterable; mAP by bits; precision
and recall; accuracy against cost; classes and what they are confused with; the health of the codes; and
queries with what each method finds for them, where the images are on this machine.

  fghash report --runs runs --out report"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash report ARGV``; the exit status."""
    options = Options("report", DESCRIPTION)
    options.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the store (runs)")
    options.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR",
        help="folder of the page, or the name of a .html file (report)",
    )  # fmt: skip
    options.add_argument("--title", default="Leaderboard", help="above the page")
    given = options.read(argv)
    if not given.runs.is_dir():
        raise InputError(f"runs: no such folder '{given.runs}'")
    path = given.out if given.out.suffix == ".html" else given.out / "index.html"
    from rich.console import Console

    from fghash.bench.outputs import require_writable

    require_writable(path.parent)
    from fghash.bench.reporting import write_report

    console = Console(stderr=True)
    with console.status("reading the store") as status:
        frame = write_report(given.runs, None, path, given.title, (), lambda text: status.update(text))
    print(f"report: {harmless(str(path))} ({len(frame)} rows, {path.stat().st_size / 1e6:.1f} MB)")
    return 0
