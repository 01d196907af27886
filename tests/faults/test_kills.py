"""Trainings that are killed or stopped at random moments end in the codes of one that nobody touched.

    python -m pytest tests/faults -m slow          20 kills and 20 SIGTERMs of every method in every mode

``FGHASH_KILLS`` is their number. Without ``-m slow`` one method is killed once in each mode.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time

import numpy as np
import pytest

import processes
from fghash.store.index import stored_runs
from fghash.store.upkeep import problems
from fghash.training.checkpoints import read_checkpoint
from stored_codes import stored_codes

pytestmark = pytest.mark.xdist_group("processes")

METHODS = ("hashnet", "phpq", "dpq", "exchnet", "fph", "adsh")
MODES = {
    "plain": [],
    "validated": ["--data.validation", "0.25"],
    "bf16": ["--trainer.precision", "bf16-mixed"],
    "accumulated": ["--trainer.accumulate_grad_batches", "2"],
    "two processes": ["--cpus", "2"],
}
OWN_OPTIMISERS = {"dpq"}  # they do not accumulate
SMALL = [
    "--data.families", "3", "--data.classes_per_family", "3", "--data.train_images", "12",
    "--data.query_images", "3", "--data.image_size", "32", "--data.sampler", "shuffle", "--bits", "16",
    "--backbone", "test_resnet", "--batch_size", "8", "--gpus", "0", "--optim.lr", "0.01",
    "--trainer.max_epochs", "4", "--trainer.enable_progress_bar", "false", "--checkpoint_minutes", "0.001",
]  # fmt: skip
KILLS = int(os.environ.get("FGHASH_KILLS", "20"))


def command(argv, rank, port):
    """``fghash ARGV`` in this process, which is one of two if it has a rank."""
    from pytorch_lightning.utilities import rank_zero_only

    from fghash.cli import main

    if rank is not None:
        os.environ.update(
            LOCAL_RANK=str(rank), NODE_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            GLOO_SOCKET_IFNAME="lo",
        )  # fmt: skip
        rank_zero_only.rank = (
            rank  # what Lightning reads when it is imported, which the forked process is past
        )
    return main(argv)


class Attempt:
    """The command of a method and a mode, under way in as many processes as it has."""

    def __init__(self, method, mode, runs, log):
        argv = ["fit", "--method", method, "--runs", str(runs), *SMALL, *MODES[mode]]
        ranks = (0, 1) if mode == "two processes" else (None,)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.logs = [log.with_suffix(f".{rank}.log") for rank in ranks]
        self.processes = [
            processes.start(command, argv, rank, port, log=each)
            for rank, each in zip(ranks, self.logs, strict=True)
        ]

    def wait(self, seconds):
        """Whether it ended within that time."""
        deadline = time.monotonic() + seconds
        for each in self.processes:
            each.join(max(0.0, deadline - time.monotonic()))
        return all(each.exitcode is not None for each in self.processes)

    def send(self, number):
        """A kill hits all its processes, another signal the first; gives its exit status."""
        for each in self.processes if number == signal.SIGKILL else self.processes[:1]:
            if each.exitcode is None:
                os.kill(each.pid, number)
        self.processes[0].join(120)
        assert self.processes[0].exitcode is not None, self.said
        if not self.wait(5):  # before they have met, one waits for the other; torchrun ends it then
            for each in self.processes:
                each.kill()
            assert self.wait(20)
        return self.processes[0].exitcode

    @property
    def said(self):
        return "\n".join(log.read_text() for log in self.logs if log.is_file())[-3000:]


def finish(method, mode, runs, log):
    """Run to the end; the codes and the seconds."""
    began = time.monotonic()
    attempt = Attempt(method, mode, runs, log)
    assert attempt.wait(300), attempt.said
    assert [each.exitcode for each in attempt.processes] == [0] * len(attempt.processes), attempt.said
    return stored_codes(runs), time.monotonic() - began


def assert_whole(runs):
    """Whatever moment it was: what is there is whole or hidden."""
    if not runs.is_dir():
        return
    for run in stored_runs(runs):
        assert not run.skipped
        assert problems(runs / run.path) == []
    for last in runs.glob("*/*/*/*/checkpoints/last.ckpt"):
        assert read_checkpoint(last)["state_dict"]
    assert not [path for path in runs.rglob("*") if ".tmp" in path.name and not path.name.startswith(".")]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key


def chain(method, mode, number, kills, folder):
    """So many signals at seeded moments, over one training after the other; each ends in the same codes."""
    processes.start(print, log=folder / "warm").join()  # the server imports; what follows is of the command
    straight, seconds = finish(method, mode, folder / "straight", folder / "straight")
    moments = random.Random(f"{method} {mode} {number}")
    runs, sent, round_, statuses = folder / "0", 0, 0, []
    while sent < kills:
        began = time.monotonic()
        attempt = Attempt(method, mode, runs, folder / "attempt")
        if attempt.wait(moments.uniform(0.1, seconds)):
            seconds = time.monotonic() - began  # quicker than before
            assert attempt.processes[0].exitcode == 0, attempt.said
            assert_same(stored_codes(runs), straight)
            shutil.rmtree(runs)
            round_ += 1
            runs = folder / str(round_)
            continue
        status = attempt.send(number)
        assert_whole(runs)
        if status:  # else it ended just before
            statuses.append(status)
            sent, seconds = sent + 1, 1.1 * seconds
    assert_same(finish(method, mode, runs, folder / "end")[0], straight)
    assert_whole(runs)
    assert not [path for path in runs.glob("*/*/*/*/**/.*") if path.is_file()]
    return statuses


QUICK = [("hashnet", mode) for mode in MODES]
ALL = [(method, mode) for mode in MODES for method in METHODS]


def refused(method, mode):
    return mode == "accumulated" and method in OWN_OPTIMISERS


@pytest.mark.parametrize(("method", "mode"), QUICK)
def test_killed_once(method, mode, tmp_path):
    assert chain(method, mode, signal.SIGKILL, 1, tmp_path) == [-signal.SIGKILL]


def test_stopped_once(tmp_path):
    (status,) = chain("hashnet", "two processes", signal.SIGTERM, 1, tmp_path)
    assert status in (143, -signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "mode"), ALL)
def test_killed_often(method, mode, tmp_path):
    if refused(method, mode):
        pytest.skip("refused before training")
    assert set(chain(method, mode, signal.SIGKILL, KILLS, tmp_path)) == {-signal.SIGKILL}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "mode"), ALL)
def test_stopped_often(method, mode, tmp_path):
    """With status 143, whatever was under way; only while it still starts, as any other process."""
    if refused(method, mode):
        pytest.skip("refused before training")
    statuses = chain(method, mode, signal.SIGTERM, KILLS, tmp_path)
    assert set(statuses) <= {143, -signal.SIGTERM}
    assert statuses.count(143) >= KILLS // 4
