"""Carry out a plan: give cells to an executor, store how each ended, and show how it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fghash.bench.ledger import FAILED, FINISHED, REFUSED, State
from fghash.bench.plan import MISSING, Plan, Planned
from fghash.bench.workers import ENDS, Event, Executor
from fghash.errors import InputError
from fghash.settings.config import plain
from fghash.store.lock import LockedError, locked

_BUSY_SECONDS = 2.0  # before a cell that another process trains is tried again


class Show(Protocol):
    """Who is shown how it goes."""

    def started(self, planned: Planned) -> None:
        """A cell begins."""

    def progress(self, planned: Planned, part: float) -> None:
        """This part of its training is done."""

    def ended(self, planned: Planned, seconds_left: float | None) -> None:
        """It has ended, as its state says."""

    def say(self, text: str) -> None:
        """A line."""


class Driver:
    """Runs what is missing of a plan."""

    def __init__(self, plan: Plan, executor: Executor, show: Show) -> None:
        self.plan, self.executor, self.show = plan, executor, show
        self._running: dict[str, Planned] = {}
        self._later: dict[str, float] = {}

    def run(self) -> None:
        """Until no cell is missing; one driver at a time a table.

        Raises:
            InputError: another process runs this table.
        """
        with self._alone(), self._closing():
            while self._running or self.plan.missing():
                self._start(self._next())
                for event in self.executor.wait(1.0 if self._running else _BUSY_SECONDS):
                    self._heard(event)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        name = self.plan.table.name
        try:
            with locked(self.plan.ledger.folder / f"{name}.lock"):
                yield
        except LockedError as error:
            raise InputError(f"table: '{name}' is being run already ({error}); --status shows it") from None

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.executor.close()

    def _next(self) -> list[Planned]:
        """As many cells as there are free slots, without those that wait for something."""
        now, free = time.monotonic(), self.executor.slots - len(self._running)
        ready = (
            each
            for each in self.plan.missing()
            if each.name not in self._running and not each.waits and self._later.get(each.name, 0) <= now
        )
        return [each for each, _ in zip(ready, range(free), strict=False)]

    def _start(self, cells: list[Planned]) -> None:
        for planned in cells:
            self._running[planned.name] = planned
            self.show.started(planned)
        if cells:
            self.executor.start([job_of(planned, self.plan) for planned in cells])

    def _heard(self, event: Event) -> None:
        planned = self._running.get(event["id"])
        if planned is None:
            return
        if event["event"] == "progress":
            self.show.progress(planned, float(event["part"]))
        elif event["event"] == "say":
            self.show.say(f"{planned.cell.shown}: {event['text']}")
        elif event["event"] in ENDS:
            del self._running[planned.name]
            self._end(planned, event)

    def _end(self, planned: Planned, event: Event) -> None:
        if event["event"] == "busy":
            self._later[planned.name] = time.monotonic() + _BUSY_SECONDS
            return
        planned.state = state_of(planned, event)
        self.plan.ledger.write(planned.name, planned.state)
        self.show.ended(planned, self._seconds_left())

    def _seconds_left(self) -> float | None:
        left = [each for each in self.plan.cells if each.status == MISSING]
        seconds = self.plan.seconds([each for each in left if not each.waits])
        return None if seconds is None else seconds / max(1, min(self.executor.slots, len(left) or 1))


def job_of(planned: Planned, plan: Plan) -> dict[str, Any]:
    """The cell as what a worker reads, in JSON's own kinds; the progress bar is the driver's."""
    settings = plain(planned.cell.settings)
    trainer = {"enable_progress_bar": False, **settings.get("trainer", {})}
    if settings.get("tracking", {}).get("name"):
        settings["tracking"] = {"group": plan.table.name, **settings["tracking"]}
    runs = plan.ledger.runs.resolve()
    gpus = planned.cell.request.single.get("gpus")
    return {
        "id": planned.name,
        "settings": {**settings, "trainer": trainer},
        "runs": str(runs),
        "log": str(plan.ledger.log(planned.name).resolve()),
        "processes": gpus or 0,
    }


def state_of(planned: Planned, event: Event) -> State:
    """How a cell ended, from the event that ended it."""
    ended = {"finished": FINISHED, "refused": REFUSED}.get(event["event"], FAILED)
    cell, method = planned.cell.shown, planned.cell.request.method
    if ended != FINISHED:
        return State(ended, cell, method, error=str(event.get("error", "")))
    return State(
        ended,
        cell,
        method,
        run=event["run"],
        protocol=event["protocol"],
        lengths=tuple(event["lengths"]),
        map=event["map"],
        seconds=float(event["seconds"]) if event["trained"] else 0.0,
    )
