"""``fghash runs``: look after a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fghash.cli.options import Options
from fghash.display import harmless
from fghash.errors import InputError
from fghash.registry import nearest

if TYPE_CHECKING:
    from fghash.store.upkeep import RunState

DESCRIPTION = """\
Look after a store of runs.

  fghash runs list   [RUNS]          every run: state, mAP, the space that it and its checkpoints take
  fghash runs verify [RUNS]          whether codes, models and records are what was written; status 2 if not
  fghash runs prune  [RUNS] [--yes]  delete checkpoints of finished runs (without --yes: tell which)
  fghash runs gc     [RUNS] [--yes]  delete what killed processes left behind (without --yes: tell what)"""

ACTIONS = ("list", "verify", "prune", "gc")


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash runs ARGV``; the exit status."""
    options = Options("runs", DESCRIPTION)
    options.add_argument("action", metavar="list|verify|prune|gc", help="what to do")
    options.add_argument("runs", type=Path, nargs="?", default=Path("runs"), metavar="RUNS", help="the store")
    options.add_argument(
        "--yes", action="store_true", help="delete, instead of telling what would be deleted"
    )
    given = options.read(argv)
    if given.action not in ACTIONS:
        known = f"(known: {', '.join(ACTIONS)}){nearest(given.action, ACTIONS)}"
        raise InputError(f"runs: unknown action '{given.action}' {known}")
    from fghash.store import upkeep

    if given.action == "list":
        return _list(given.runs, upkeep.run_states(given.runs))
    if given.action == "verify":
        return _verify(given.runs, upkeep.run_states(given.runs))
    found = upkeep.finished_checkpoints if given.action == "prune" else upkeep.leftovers
    return _delete(found(given.runs), given.yes)


def _list(runs: Path, rows: Sequence[RunState]) -> int:
    for each in rows:
        shown = "-" if each.map is None else f"{each.map:.4f}"
        name = harmless(str(each.folder.relative_to(runs)))
        sizes = f"{_size(each.n_bytes):>9}  checkpoints {_size(each.checkpoint_bytes):>9}"
        print(f"{each.state:<11}{shown:>7}  {sizes}  {name}")
    total, kept = sum(each.n_bytes for each in rows), sum(each.checkpoint_bytes for each in rows)
    print(f"{len(rows)} runs, {_size(total)}, of it {_size(kept)} checkpoints")
    return 0


def _verify(runs: Path, states: Sequence[RunState]) -> int:
    from fghash.store.upkeep import CHECKSUMS, problems

    wrong = unknown = 0
    rows = [each for each in states if each.state == "finished"]
    for each in rows:
        unknown += not (each.folder / CHECKSUMS).is_file()
        for line in problems(each.folder):
            print(harmless(line))
            wrong += 1
    print(f"{len(rows)} finished runs below '{harmless(str(runs))}', {wrong} problems")
    if unknown:
        print(
            f"{unknown} of them were made by a version that kept no checksums: only their records were read"
        )
    return 2 if wrong else 0


def _delete(found: Iterable[tuple[Path, int]], yes: bool) -> int:
    count = total = 0
    for path, size in found:
        print(f"{'deleted' if yes else 'would delete'}: {harmless(str(path))} ({_size(size)})")
        if yes:
            path.unlink(missing_ok=True)
        count, total = count + 1, total + size
    said = "" if yes or not count else " (--yes deletes them)"
    print(f"{count} files, {_size(total)}{said}" if count else "nothing to delete")
    return 0


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.2f} MB"
