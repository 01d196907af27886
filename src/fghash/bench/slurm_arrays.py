"""Cells as jobs of a SLURM array, through submitit; a job that is preempted or out of time goes on later."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fghash.bench.portable import portable
from fghash.bench.workers import Event
from fghash.errors import InputError

_POLL = 0.5  # seconds between two looks at the jobs
_MANY = 1_000


class CellTask:
    """A cell as submitit calls it; after a preemption it is submitted again and resumes from a checkpoint."""

    def __call__(self, job: Mapping[str, Any]) -> Event:
        """Run it."""
        from fghash.bench.cell_run import run_cell

        return run_cell(job, lambda event: None)

    def checkpoint(self, job: Mapping[str, Any]) -> Any:
        """What submitit submits again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class SlurmArrays:
    """An executor that submits all ready cells as one array.

    Args:
        runs: the store, on a disk that all nodes share; submitit's files lie in ``.bench/slurm`` below it.
        cpus: of each cell.
        gpus: of each cell.
        parameters: submitit's own, as ``{"slurm_partition": "gpu", "timeout_min": 600}``.
        cluster: ``slurm``, or ``local``: processes of this machine, to try it.
        slots: cells that are submitted at once.
    """

    def __init__(
        self, runs: Path, cpus: int, gpus: int, parameters: Mapping[str, Any], cluster: str = "slurm",
        slots: int = _MANY,
    ) -> None:  # fmt: skip
        self._slots, self._gpus = slots, gpus
        self._executor = _executor(runs / ".bench" / "slurm", cluster)
        self._jobs: dict[str, Any] = {}
        defaults = {"timeout_min": 60 * 24, "cpus_per_task": cpus, "gpus_per_node": gpus}
        try:
            self._executor.update_parameters(**{**defaults, "name": "fghash", **parameters})
        except (NameError, TypeError, ValueError) as error:
            raise InputError(f"--slurm: {str(error).strip().splitlines()[0]}") from error

    @property
    def slots(self) -> int:
        """Cells that are submitted at once."""
        return self._slots

    def start(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Submit them together: on SLURM as one array."""
        with self._executor.batch():
            submitted = [self._executor.submit(CellTask(), portable(job, self._gpus)) for job in jobs]
        self._jobs |= {str(job["id"]): each for job, each in zip(jobs, submitted, strict=True)}

    def wait(self, seconds: float) -> list[Event]:
        """The cells that have ended."""
        until = time.monotonic() + seconds
        while True:
            done = [name for name, job in self._jobs.items() if job.done()]
            if done or time.monotonic() >= until or not self._jobs:
                return [self._event(name, self._jobs.pop(name)) for name in done]
            time.sleep(_POLL)

    def close(self) -> None:
        """Cancel what has not ended; the same command goes on from its checkpoints."""
        for job in self._jobs.values():
            with contextlib.suppress(Exception):  # it may have ended meanwhile
                job.cancel(check=False)

    def _event(self, name: str, job: Any) -> Event:
        try:
            event: Event = job.result()
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return {"event": "failed", "id": name, "error": f"SLURM: {lines[-1][:300]}", "seconds": 0.0}
        return event


def _executor(folder: Path, cluster: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise InputError("--cluster: needs submitit, pip install 'fghash[cluster]'") from None
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise InputError("--cluster: slurm, but there is no sbatch here (local-jobs tries it without SLURM)")
    return submitit.AutoExecutor(folder=folder, cluster=cluster)
