"""Processes for tests, forked from a server that has imported torch and Lightning once.

A fresh interpreter spends most of a test importing. The server never runs an operation, so that it has no
threads and its children are as clean as new processes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "pytorch_lightning", "torchmetrics", "timm", "fghash.pipeline"])
_TIMEOUT = 600


def start(function: Callable[..., Any], *args: Any, log: Path) -> BaseProcess:
    """A running process that calls ``function(*args)``; what it prints goes to ``log``."""
    process = _CONTEXT.Process(target=_logged, args=(log, function, *args))
    process.start()
    return process


def run_all(jobs: list[tuple[Any, ...]], folder: Path) -> None:
    """All jobs ``(function, *args)`` at once; fails with what they printed if one of them fails."""
    logs = [folder / f"job{i}.log" for i in range(len(jobs))]
    started = [start(*job, log=log) for job, log in zip(jobs, logs, strict=True)]
    for process in started:
        process.join(_TIMEOUT)
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
    assert codes == [0] * len(jobs), "\n".join(log.read_text() for log in logs)[-5000:]


def join_gloo(folder: Path, rank: int, n_processes: int) -> None:
    """Meet the other processes of a group; called first by each of them. One process has nobody to meet."""
    import torch

    if n_processes == 1:
        return
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", GLOO_SOCKET_IFNAME="lo")
    meeting = f"file://{folder.resolve()}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=n_processes)


def _logged(log: Path, function: Callable[..., Any], *args: Any) -> None:
    import torch

    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            status = function(*args)
        except BaseException:
            traceback.print_exc(file=file)
            status = 1
        file.flush()
    sys.stdout.flush()
    os._exit(int(status or 0))
