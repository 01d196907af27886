"""``fghash new``: the skeleton of an outside package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fghash.cli.options import Options
from fghash.display import harmless
from fghash.registry import DATASETS, METHODS
from fghash.skeletons import write_skeleton

DESCRIPTION = """\
Write a package of your own with a method or a data set, registered through fghash's entry points, and its
test, which passes as written.

  fghash new method mine mine
  pip install --editable mine && pytest mine && fghash fit --method mine --data synthetic"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash new ARGV``; the exit status."""
    options = Options("new", DESCRIPTION)
    options.add_argument("kind", metavar="method|dataset", help="what the package holds")
    options.add_argument("name", metavar="NAME", help="its name on the command line")
    options.add_argument("folder", metavar="DIR", type=Path, help="a new folder for the package")
    given = options.read(argv)
    taken = list(METHODS if given.kind == "method" else DATASETS)
    for path in write_skeleton(given.kind, given.name, given.folder, taken):
        print(f"written: {harmless(str(path))}")
    print(f"next: pip install --editable {harmless(str(given.folder))}, then pytest in it")
    return 0
