"""The report of a store: what it holds, and the images that lie elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from fghash.api import class_names_of, images_of
from fghash.pipeline import silent
from fghash.report.page.contents import Sources, contents
from fghash.report.page.html import write_page
from fghash.report.significance import ranked_rows


def write_report(
    runs: Path,
    wanted: Iterable[tuple[str, int]] | None,
    path: Path,
    title: str,
    lacking: Sequence[str],
    say: Callable[[str], None] = silent,
) -> pd.DataFrame:
    """Write the page of all runs, or of ``wanted``: (path below ``runs``, bits).

    Returns:
        The leaderboard that is in it.

    Raises:
        InputError: there is no folder ``runs``, or the page cannot be written.
    """
    tested = ranked_rows(runs, wanted)
    sources = Sources(images_of, class_names_of, say)
    write_page(path, title, contents(runs, tested, sources), lacking)
    return tested.frame
