"""One cell, carried out in this process; workers on this machine and on others all come here."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from fghash.errors import InputError
from fghash.store import RunFolder
from fghash.store.lock import LockedError

Tell = Callable[[dict[str, Any]], None]


def run_cell(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train and score a cell; what went wrong is an event too, with its traceback on stderr.

    Args:
        job: ``id``, ``settings`` (nested), ``runs`` and ``processes``, the number of GPUs if more than one.
        tell: is told events on the way: ``progress`` with the part that is done, ``say`` with a line.

    Returns:
        The event that ends the cell: ``finished``, ``failed``, ``refused`` or ``busy``.
    """
    began = time.monotonic()
    try:
        found = _refusal(job) or _trained(job, tell)
    except LockedError as error:
        found = {"event": "busy", "error": str(error)}
    except InputError as error:
        print(f"fghash: error: {error}", file=sys.stderr, flush=True)
        found = {"event": "failed", "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        found = {"event": "failed", "error": f"{type(error).__name__}: {error}"}
    found["error"] = " ".join(found.get("error", "").split())[:500]
    _free()
    return {"id": job["id"], "seconds": round(time.monotonic() - began, 3), **found}


def _refusal(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event of a method that does not have this code length."""
    from fghash.registry import METHODS, look_up
    from fghash.settings.resolve import choose
    from fghash.settings.sources import mapping_layer, merge

    request = choose([mapping_layer(job["settings"])])
    method_class = look_up(METHODS, request.method, "method").load()
    settings = {
        key: value for key, value in merge(request.everything).get("method", {}).items() if key != "name"
    }
    try:
        with suppress(TypeError):  # a setting in text, which only the full parser reads
            method_class.allows_bits(int(request.single.get("bits", 32)), **settings)
    except InputError as error:
        return {"event": "refused", "error": str(error)}
    return None


def _trained(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    if int(job.get("processes") or 0) > 1:
        return _by_command(job)
    from fghash.api import fit

    def watch(part: float) -> None:
        tell({"event": "progress", "id": job["id"], "part": part})

    def say(text: str) -> None:
        print(text, flush=True)
        if text.startswith("resuming"):
            tell({"event": "say", "id": job["id"], "text": text})

    result = fit(job["settings"], say=say, watch=watch, runs=job["runs"])
    return _scored(result.folder, Path(job["runs"]), result.status)


def _by_command(job: Mapping[str, Any]) -> dict[str, Any]:
    """Several processes: Lightning starts them by the command line, which this worker's is not."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(dict(job["settings"]), file)
        file.flush()
        code = "import sys; from fghash.cli import main; sys.exit(main())"
        words = [sys.executable, "-c", code, "fit", "--config", file.name, "--runs", str(job["runs"])]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    print(done.stdout, flush=True)
    folders = [line[5:] for line in done.stdout.splitlines() if line.startswith("run: ")]
    if done.returncode != 0 or not folders:
        raise InputError(f"fghash fit ended with status {done.returncode}")
    return _scored(Path(folders[-1]), Path(job["runs"]), "trained")


def _scored(folder: Path, runs: Path, status: str) -> dict[str, Any]:
    records = RunFolder(folder).records()
    longest = max(record.bits for record in records)
    ordered = sorted(records, key=lambda each: (each.bits != longest, each.gallery_codes != "network"))
    return {
        "event": "finished",
        "run": folder.resolve().relative_to(runs.resolve()).as_posix(),
        "protocol": records[-1].protocol,
        "lengths": sorted({record.bits for record in records}),
        "map": ordered[0].scores.get("map"),
        "trained": status == "trained",
    }


def _free() -> None:
    """What a cell leaves behind in a process that goes on."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
