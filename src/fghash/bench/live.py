"""How a table is going: bars in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fghash.bench.ledger import FINISHED
from fghash.bench.plan import MISSING, Plan, Planned
from fghash.display import harmless


class Lines:
    """A line for each cell that has ended."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def started(self, planned: Planned) -> None:
        """Nothing: the line comes when there is something to tell."""

    def progress(self, planned: Planned, part: float) -> None:
        """Nothing."""

    def ended(self, planned: Planned, seconds_left: float | None) -> None:
        """Its score or error, and how long the rest takes."""
        self.say(f"[{ended(self.plan)}/{len(self.plan.cells)}] {told(planned)}{left(seconds_left)}")

    def say(self, text: str) -> None:
        """As it is."""
        print(harmless(text), flush=True)


class Bars(Lines):
    """A bar over all cells and one for each that is running, below the lines."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        super().__init__(plan)
        self._progress, self._bars = progress, dict[str, TaskID]()
        self._all = progress.add_task("all cells", total=len(plan.cells), completed=ended(plan), left="")

    def started(self, planned: Planned) -> None:
        """A bar of its own."""
        name = harmless(planned.cell.shown)[:40]
        self._bars[planned.name] = self._progress.add_task(name, total=1.0, left="")

    def progress(self, planned: Planned, part: float) -> None:
        """How far it is."""
        self._progress.update(self._bars[planned.name], completed=part)

    def ended(self, planned: Planned, seconds_left: float | None) -> None:
        """Its bar goes, its line stays."""
        self._progress.remove_task(self._bars.pop(planned.name))
        self._progress.update(self._all, completed=ended(self.plan), left=left(seconds_left))
        self.say(told(planned))

    def say(self, text: str) -> None:
        """Above the bars."""
        self._progress.console.print(harmless(text), highlight=False, markup=False)


@contextmanager
def shown(plan: Plan) -> Iterator[Lines]:
    """Bars where somebody looks, lines where a file does."""
    console = Console()
    if not console.is_terminal:
        yield Lines(plan)
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), TextColumn("{task.fields[left]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(plan, progress)


def ended(plan: Plan) -> int:
    """How many cells need no more work."""
    return sum(each.status != MISSING for each in plan.cells)


def told(planned: Planned) -> str:
    """``hashnet bits=16 seed=0: map 0.5123 (14 s)``, or why not."""
    state = planned.state
    if state is None:
        return f"{planned.cell.shown}: {planned.status}"
    if state.status != FINISHED:
        return f"{planned.cell.shown}: {state.status}: {state.error}"
    score = "no map" if state.map is None else f"map {state.map:.4f}"
    took = f" ({duration(state.seconds)})" if state.seconds else " (was there)"
    return f"{planned.cell.shown}: {score}{took}"


def left(seconds: float | None) -> str:
    """``, about 6 min left``; nothing where it is not known, or nothing is left."""
    return f", about {duration(seconds)} left" if seconds else ""


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(7.2), duration(400), duration(7300)
    ('7 s', '6.7 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def lines(plan: Plan) -> Iterator[str]:
    """The plan for people: what the file says of itself, every cell, and the sums."""
    yield from plan.table.header
    for planned in plan.cells:
        yield f"  {told(planned)}"
    counts = ", ".join(f"{number} {status}" for status, number in sorted(plan.counts().items()))
    yield f"{plan.table.name}: {len(plan.cells)} cells: {counts}"
    missing = [each for each in plan.missing() if not each.waits]
    seconds = plan.seconds(missing)
    if missing:
        known = "unknown: no cell has finished yet" if seconds is None else f"about {duration(seconds)}"
        yield f"time for the missing ones, one after another: {known}"
