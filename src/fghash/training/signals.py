"""Signals that ask a training to stop: it ends after the step under way, with everything saved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fghash.errors import Stopped

REQUEUE = signal.SIGUSR1  # what ``#SBATCH --signal=USR1@120`` sends some time before a job's end


class StopSignals:
    """SIGINT and SIGTERM, and USR1 in a job of SLURM, while a training runs; ``received`` is 0 or the number.

    A second signal does not wait for the step: it ends the training at once.
    """

    def __init__(self) -> None:
        self.received = 0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def watch(self) -> None:
        """From now on, until :meth:`release`."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may set handlers
        for number in (signal.SIGINT, signal.SIGTERM, *([REQUEUE] if _slurm_job() else [])):
            self._before[number] = signal.signal(number, self._note)

    def release(self) -> None:
        """As it was before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a loading process: it ends when this one does
        if self.received:
            self.release()  # a third one ends the process as it does any other
            raise Stopped(number)
        self.received = number


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Outside of the training itself a SIGTERM ends this process at once, tidily, and its status is 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one does not ask, and a loading process has none
        if os.getpid() != owner:
            os.kill(os.getpid(), number)
        else:
            raise Stopped(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def requeue() -> bool:
    """Ask SLURM to run this job again; whether it will."""
    job = _slurm_job()
    if job is None:
        return False
    try:
        command = ["scontrol", "requeue", job]  # no shell, and a number
        return subprocess.run(command, check=False, timeout=60).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False


def _slurm_job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    return job if re.fullmatch(r"[0-9_]+", job) else None
