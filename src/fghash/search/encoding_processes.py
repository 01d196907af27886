"""Several processes that encode blocks of images, on as many devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from fghash.api import load_run
from fghash.data.datamodule import n_cores
from fghash.errors import InputError
from fghash.files import full_disk
from fghash.search.block_encoding import Block, EncodingJob, EncodingOptions, Tell, fill
from fghash.search.image_lists import ImageSource

_POLL = 0.2  # seconds
_TOLD = 50  # images at a time


def by_processes(job: EncodingJob, blocks: Sequence[Block], tell: Tell) -> None:
    """Encode blocks by a process for each device, which takes every n-th; the first error of any ends all.

    Raises:
        InputError: what one of them raised, or that one died.
    """
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    count = min(len(job.options.devices), len(blocks))
    processes = []
    for rank in range(count):
        share = blocks[rank::count]
        needed = {i: job.sources[i] for start, stop in share for i in range(start, stop)}
        arguments = (rank, count, job.run.folder, needed, job.parts, job.options, share, answers)
        processes.append(context.Process(target=_work, args=arguments, daemon=True))
    try:
        for process in processes:
            process.start()
        _follow(processes, answers, tell)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _follow(processes: Sequence[Any], answers: Any, tell: Tell) -> None:
    """Until every process has said that it is done.

    Raises:
        InputError: what one of them raised, or that one died.
    """
    done = 0
    while done < len(processes):
        if answers.empty():
            dead = [process for process in processes if process.exitcode not in (None, 0)]
            if dead and answers.empty():
                raise InputError(
                    f"encode: a process ended with status {dead[0].exitcode} (no memory left?); the same "
                    "command goes on"
                )
            processes[0].join(_POLL)
            continue
        answer = answers.get()
        if isinstance(answer, str):
            raise InputError(answer)
        if answer is None:
            done += 1
        else:
            tell(answer)


class _Sources(Sequence[ImageSource]):
    """Some images under their positions among all."""

    def __init__(self, known: dict[int, ImageSource]) -> None:
        self.known = known

    def __getitem__(self, position: Any) -> Any:
        return self.known[position]

    def __len__(self) -> int:
        return len(self.known)


class _Counter:
    """Tells now and then how many images were done, not one by one."""

    def __init__(self, answers: Any) -> None:
        self.answers, self.count = answers, 0

    def __call__(self, count: int) -> None:
        self.count += count
        if self.count >= _TOLD:
            self.flush()

    def flush(self) -> None:
        """Tell the rest."""
        self.answers.put(self.count)
        self.count = 0


def _work(
    rank: int,
    count: int,
    folder: Path,
    sources: dict[int, ImageSource],
    parts: Path,
    options: EncodingOptions,
    blocks: Sequence[Block],
    answers: Any,
) -> None:
    """In a process of its own; tells counts, then ``None``, or an error in words."""
    share = max(1, n_cores() // count)
    if options.devices[rank] == "cpu":
        torch.set_num_threads(share)
    told = _Counter(answers)
    try:
        with full_disk("--out", parts.parent):
            run = load_run(folder)
            run.method.to(options.devices[rank])
            own = replace(options, threads=options.threads or share)
            fill(EncodingJob(run, _Sources(sources), parts, own), blocks, told)
        told.flush()
        answers.put(None)
    except InputError as error:
        answers.put(str(error))
