"""A warm process: reads jobs as lines of JSON from stdin, writes events as lines of JSON to stdout.

    python -m fghash.bench.worker

What a training prints goes to the log of its cell. Whoever started the worker holds its stdin: when that
closes, be it by a ``kill -9``, the worker ends at once.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from fghash.bench.cell_run import run_cell


def main() -> int:
    """Work until there is nobody to work for."""
    events = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        job = jobs.get()
        _log_to(Path(job["log"]))
        events.write(json.dumps(run_cell(job, lambda event: _write(events, event))) + "\n")


def _listen(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _write(events: Any, event: dict[str, Any]) -> None:
    events.write(json.dumps(event) + "\n")


def _log_to(path: Path) -> None:
    """Everything that is printed from here on, by C code too."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


if __name__ == "__main__":
    sys.exit(main())
