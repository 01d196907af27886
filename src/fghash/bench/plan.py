"""What of a table is done, what is missing, and about how long that will take."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fghash.bench.ledger import FAILED, FINISHED, REFUSED, Ledger, State, cell_id
from fghash.bench.table import Cell, Table
from fghash.registry import METHODS
from fghash.settings.identity import canonical_json

MISSING, COVERED = "missing", "covered"


@dataclass
class Planned:
    """A cell, its id, how it ended (``None``: not yet), and the longer cell whose training gives it too."""

    cell: Cell
    name: str
    state: State | None = None
    longer: Planned | None = None

    @property
    def status(self) -> str:
        """``finished``, ``failed``, ``refused``, ``covered`` (by a longer training) or ``missing``."""
        if self.state is not None:
            return self.state.status
        return COVERED if self._gives(self.longer) else MISSING

    @property
    def waits(self) -> bool:
        """Whether a longer cell, which may give this one, has not ended yet."""
        return self.longer is not None and self.longer.state is None

    @property
    def run(self) -> str:
        """Path of the run below the store, empty where there is none."""
        source = self.longer if self.status == COVERED and self.longer else self
        return source.state.run if source.state is not None and source.status == FINISHED else ""

    def _gives(self, longer: Planned | None) -> bool:
        state = longer.state if longer is not None else None
        return state is not None and state.status == FINISHED and self.cell.bits in state.lengths


@dataclass
class Plan:
    """All cells of a table and what is known of them."""

    table: Table
    ledger: Ledger
    cells: list[Planned] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table, ledger: Ledger, retry_failed: bool = False) -> Plan:
        """The plan from what is on disk; ``retry_failed`` forgets the failed cells."""
        plan = cls(table, ledger, [Planned(cell, cell_id(cell)) for cell in table.cells])
        for planned in plan.cells:
            state = ledger.read(planned.name)
            again = state is not None and state.status == FAILED and retry_failed
            planned.state = None if again else state
        _nest(plan.cells)
        return plan

    def missing(self) -> list[Planned]:
        """The cells that have to be run, in order; the longest of a nested method before the others."""
        return [each for each in self.cells if each.status == MISSING]

    def counts(self) -> Counter[str]:
        """How many cells have each status."""
        return Counter(each.status for each in self.cells)

    def seconds(self, cells: Sequence[Planned]) -> float | None:
        """About how long these take one after another, from what finished cells took; ``None``: unknown."""
        took = _durations(self.ledger.all_states())
        known = [took.get(each.cell.request.method, took.get("", math.nan)) for each in cells]
        return None if any(map(math.isnan, known)) else math.fsum(known)

    def runs(self) -> list[str]:
        """The folders of all runs that the table has, each once."""
        return list(dict.fromkeys(each.run for each in self.cells if each.run))

    def lacking(self) -> Iterator[Planned]:
        """The cells without scores: failed, refused and missing ones."""
        return (each for each in self.cells if each.status in (FAILED, REFUSED, MISSING))


def _nest(cells: Sequence[Planned]) -> None:
    """Cells that differ in nothing but the code length, of methods that give several in one training."""
    groups: dict[str, list[Planned]] = defaultdict(list)
    for planned in cells:
        if METHODS[planned.cell.request.method].nested:
            rest = {key: value for key, value in planned.cell.settings.items() if key != "bits"}
            groups[canonical_json(rest)].append(planned)
    for group in groups.values():
        longest = max(group, key=lambda each: each.cell.bits)
        for planned in group:
            planned.longer = None if planned is longest else longest


def _durations(states: Sequence[State]) -> dict[str, float]:
    """Mean seconds of the finished cells of each method; of all of them under the empty name."""
    took: dict[str, list[float]] = defaultdict(list)
    for state in states:
        if state.status == FINISHED and state.seconds > 0:
            took[state.method].append(state.seconds)
            took[""].append(state.seconds)
    return {name: math.fsum(values) / len(values) for name, values in took.items()}
