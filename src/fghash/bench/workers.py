"""Workers of this machine: warm processes that run one cell after another."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Event = dict[str, Any]


class Executor(Protocol):
    """Where cells are run."""

    @property
    def slots(self) -> int:
        """How many it takes at once."""

    def start(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Begin these cells; their events come from :meth:`wait`."""

    def wait(self, seconds: float) -> list[Event]:
        """What happened, as soon as anything does, or nothing after this time."""

    def close(self) -> None:
        """End everything."""


class LocalWorkers:
    """``jobs`` processes on this machine, which share its cores and, one each, its GPUs."""

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = jobs
        self._events: queue.Queue[Event] = queue.Queue()
        self._free = list(range(jobs))
        self._workers: dict[int, _Worker] = {}
        self._running: dict[str, int] = {}

    @property
    def slots(self) -> int:
        """As many as there are workers."""
        return self._jobs

    def start(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Give each cell to a worker, which is started if it is not there yet or has died."""
        for job in jobs:
            self._start(job)

    def _start(self, job: Mapping[str, Any]) -> None:
        number = self._free.pop(0)
        worker = self._workers.get(number)
        if worker is None or not worker.alive:
            worker = self._workers[number] = _Worker(self._events, number, self.slots)
        self._running[str(job["id"])] = number
        worker.give(job)

    def wait(self, seconds: float) -> list[Event]:
        """All events that are there, or those that come first."""
        try:
            events = [self._events.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._events.empty():
            events.append(self._events.get())
        for event in events:
            if event["event"] in ENDS and event["id"] in self._running:
                self._free.append(self._running.pop(event["id"]))
        return events

    def close(self) -> None:
        """End the workers; a training that is cut this way resumes from its checkpoint."""
        for worker in self._workers.values():
            worker.end()


ENDS = ("finished", "failed", "refused", "busy")


class _Worker:
    """One process, and the thread that reads what it tells."""

    def __init__(self, events: queue.Queue[Event], number: int, of: int) -> None:
        self._events, self._job = events, ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fghash.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_shares(number, of)},
            start_new_session=True,  # a keyboard interrupt is for the driver, which closes our stdin
        )
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def give(self, job: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._job = str(job["id"])
        try:
            self._process.stdin.write(json.dumps(dict(job)) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._lost()

    def end(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] in ENDS:
                self._job = ""
            self._events.put(event)
        self._process.wait()
        self._lost()

    def _lost(self) -> None:
        job, self._job = self._job, ""
        if job:
            reason = _ended(self._process.wait())
            self._events.put({"event": "failed", "id": job, "error": reason, "seconds": 0.0})


def _shares(number: int, of: int) -> dict[str, str]:
    """A worker's part of the machine, where several share it."""
    if of == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = {"OMP_NUM_THREADS": str(max(1, cores // of))}
    visible = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    gpus = visible or [str(each) for each in range(_n_gpus())]
    return {**shares, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else shares


def _n_gpus() -> int:
    folder = "/proc/driver/nvidia/gpus"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0  # noqa: PTH112, PTH208


def _ended(status: int) -> str:
    if status >= 0:
        return f"the worker ended with status {status}"
    name = signal.Signals(-status).name
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"the worker was ended by {name}{hint}"
