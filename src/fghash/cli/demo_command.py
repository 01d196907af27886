"""``fghash demo``: a small local page to try an index."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fghash.cli.options import Options, at_least
from fghash.errors import InputError

DESCRIPTION = """\
Serve a page on this machine: upload or pick a query, see what an index finds, with distances and classes;
choose the code length and re-ranking; a second index stands beside the first. Needs the extra demo (pip
install 'fghash[demo]'). Nobody else can reach it unless --host says so, and it asks nobody else for anything.

  fghash demo birds
  fghash demo birds_phpq birds_adsh --queries photos"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash demo ARGV``; the exit status."""
    options = Options("demo", DESCRIPTION)
    options.add_argument("indexes", type=Path, nargs="+", metavar="INDEX", help="one or two (fghash index)")
    options.add_argument("--run", metavar="RUN", help="run or bundle that encodes the queries of the first")
    options.add_argument(
        "--queries", nargs="+", metavar="IMAGES", help="to pick from (the run's own queries)"
    )
    options.add_argument("--host", default="127.0.0.1", help="to listen on (127.0.0.1)")
    options.add_argument("--port", type=at_least(1), help="to listen on (a free one from 7860)")
    given = options.read(argv)
    if len(given.indexes) > 2:
        raise InputError(f"demo: {len(given.indexes)} indexes, expected one or two")
    from fghash.search.image_lists import list_images
    from fghash.search.index_folder import open_index
    from fghash.search.web_page import Searcher, examples_of, launch, page

    runs = [given.run, None]
    searchers = [Searcher.of(open_index(path), runs[i]) for i, path in enumerate(given.indexes)]
    sources = list_images(given.queries) if given.queries else ()
    blocks = page(searchers, examples_of(searchers[0], sources))
    if given.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"fghash: anybody who reaches {given.host} can use this page", file=sys.stderr)
    launch(blocks, given.host, given.port)
    return 0
