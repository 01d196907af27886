"""Cells on a Ray cluster: Ray places them, and places those of a lost node again.

A cell resumes from its last checkpoint where the nodes share the store's disk. Where they do not, it is
trained in a folder of the node and its run is brought back to the driver.
"""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fghash.bench.portable import portable
from fghash.bench.workers import Event
from fghash.data.prepare.unpack import unpack
from fghash.errors import InputError

_PATIENCE = 10.0  # seconds for an address to answer


class RayCluster:
    """An executor that asks a Ray cluster for ``cpus`` and ``gpus`` for each cell."""

    def __init__(self, address: str, runs: Path, cpus: int, gpus: int) -> None:
        self._ray = _connected(address)
        self._cpus, self._gpus = cpus, gpus
        self._references: dict[Any, str] = {}
        self._runs = runs
        self._token = runs / ".bench" / f"here-{secrets.token_hex(8)}"
        self._token.parent.mkdir(parents=True, exist_ok=True)
        self._token.touch()
        if self.slots == 0:
            has = self._ray.cluster_resources()
            self._ray.shutdown()
            raise InputError(
                f"--cluster: a cell asks for {cpus} cores and {gpus} GPUs, the cluster has "
                f"{has.get('CPU', 0):.0f} and {has.get('GPU', 0):.0f}"
            )
        self._run = self._ray.remote(run_on_node).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=-1, retry_exceptions=False
        )

    @property
    def slots(self) -> int:
        """How many cells fit the cluster as it is now."""
        resources = self._ray.cluster_resources()
        fitting = resources.get("CPU", 0) // self._cpus
        return int(min(fitting, resources.get("GPU", 0) // self._gpus) if self._gpus else fitting)

    def start(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Hand the cells to Ray."""
        for job in jobs:
            there = {**portable(job, self._gpus), "token": str(self._token.resolve())}
            reference = self._run.remote(there)
            self._references[reference] = str(job["id"])

    def wait(self, seconds: float) -> list[Event]:
        """The cells that have ended."""
        if not self._references:
            return []
        done, _ = self._ray.wait(list(self._references), num_returns=1, timeout=seconds)
        return [self._event(reference, self._references.pop(reference)) for reference in done]

    def close(self) -> None:
        """Cancel what is running and leave the cluster, which goes on."""
        for reference in self._references:
            with contextlib.suppress(Exception):  # it may have ended, or its node may be gone
                self._ray.cancel(reference, force=True)
        self._token.unlink(missing_ok=True)
        self._ray.shutdown()

    def _event(self, reference: Any, name: str) -> Event:
        try:
            event: Event = self._ray.get(reference)
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return {"event": "failed", "id": name, "error": f"Ray: {lines[-1][:300]}", "seconds": 0.0}
        archive = event.pop("archive", None)
        if archive is not None:
            unpack_run(archive, self._runs, event["run"])
        return event


def run_on_node(job: Mapping[str, Any]) -> Event:
    """A cell on whatever node this is."""
    from fghash.bench.cell_run import run_cell

    if Path(job["token"]).is_file():
        with _logged(Path(job["log"])):
            return run_cell(job, lambda event: None)
    with tempfile.TemporaryDirectory(prefix="fghash-") as folder:
        runs = Path(folder) / "runs"
        with _logged(Path(folder) / "log"):
            event = run_cell({**job, "runs": str(runs)}, lambda event: None)
        if event["event"] == "finished":
            event["archive"] = packed_run(runs / event["run"])
        return event


def packed_run(folder: Path) -> bytes:
    """The folder of a run as a tar archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(folder, arcname=".")
    return content.getvalue()


def unpack_run(content: bytes, runs: Path, run: str) -> None:
    """Put a packed run into the store, all or nothing; one that is there already stays.

    Raises:
        InputError: the path leads out of the store, or the archive is not that of a run.
    """
    place = runs / run
    if not place.resolve().is_relative_to(runs.resolve()):
        raise InputError(f"bench: '{run}' is not below the store")
    if (place / "finished").is_dir():
        return
    scratch = runs / ".bench" / f"incoming-{secrets.token_hex(8)}"
    packed = scratch.with_name(f"{scratch.name}.tar")
    try:
        scratch.mkdir(parents=True)
        packed.write_bytes(content)
        unpack(packed, scratch)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
    except (OSError, InputError) as error:
        raise InputError(f"bench: the run '{run}' came back damaged ({error})") from error
    finally:
        packed.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _logged(path: Path) -> Any:
    """What Python prints goes to the cell's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def _connected(address: str) -> Any:
    """The module ``ray``, connected.

    Raises:
        InputError: Ray is not installed, or nobody answers.
    """
    try:
        import ray
    except ImportError:
        raise InputError("--cluster: needs Ray, pip install 'fghash[cluster]'") from None
    if address != "auto":
        _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"--cluster: no Ray cluster at '{address}' ({lines[0][:200]})") from error
    return ray


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes for a cluster that is not there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--cluster: '{address}', expected auto, HOST:PORT of a Ray cluster, or slurm")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--cluster: nobody answers at '{address}' ({reason})") from error
