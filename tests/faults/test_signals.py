"""What schedulers and people send to a training, and a second command that wants the same run."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

import processes
from fghash.cli import main
from fghash.training.checkpoints import read_checkpoint

pytestmark = pytest.mark.xdist_group("processes")

SMALL = [
    "--method", "hashnet", "--data.families", "3", "--data.classes_per_family", "3",
    "--data.train_images", "12", "--data.query_images", "3", "--data.image_size", "32",
    "--data.sampler", "shuffle", "--bits", "16",
    "--backbone", "test_resnet", "--batch_size", "8", "--gpus", "0", "--optim.lr", "0.01",
    "--trainer.enable_progress_bar", "false", "--checkpoint_minutes", "0.001",
]  # fmt: skip


def command(argv, environment):
    os.environ.update(environment)
    return main(argv)


@pytest.fixture
def training(tmp_path):
    """A function that starts a long training and waits until it keeps checkpoints."""
    started = []

    def start(**environment):
        words = ["fit", *SMALL, "--runs", str(tmp_path / "runs"), "--trainer.max_epochs", "2000"]
        process = processes.start(command, words, environment, log=tmp_path / "log")
        started.append(process)
        deadline = time.monotonic() + 120
        while not list((tmp_path / "runs").glob("*/*/*/*/checkpoints/last.ckpt")):
            assert process.is_alive(), (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.kill()


def ended(process, *numbers):
    for number in numbers:
        os.kill(process.pid, number)
    process.join(60)
    return process.exitcode


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_saves_the_step_and_says_so(number, status, training, tmp_path):
    assert ended(training(), number) == status
    said = (tmp_path / "log").read_text()
    name = signal.Signals(number).name
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"fghash: stopped by {name}, saved in epoch ")
    assert last.endswith("; the same command resumes from the last checkpoint")
    assert "Traceback" not in said
    (kept,) = (tmp_path / "runs").glob("*/*/*/*/checkpoints/last.ckpt")
    assert f"after step {read_checkpoint(kept)['global_step']};" in last
    assert not [path for path in kept.parent.iterdir() if path.name.startswith(".")]


def test_a_second_signal_does_not_wait(training, tmp_path):
    process = training()
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.02)  # without a pause one handler interrupts the other without end
    process.join(60)
    assert process.exitcode in (143, -signal.SIGTERM)
    (kept,) = (tmp_path / "runs").glob("*/*/*/*/checkpoints/last.ckpt")
    assert read_checkpoint(kept)["state_dict"]


@pytest.mark.parametrize("answer", [0, 1])
def test_slurm_runs_the_job_again(answer, training, tmp_path):
    """USR1 some time before the end of a job: saved, and the job is requeued by its number."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\nexit {answer}\n')
    scontrol.chmod(0o755)
    path = f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"
    assert ended(training(PATH=path, SLURM_JOB_ID="71"), signal.SIGUSR1) == 138
    assert (tmp_path / "asked").read_text() == "requeue 71\n"
    said = (tmp_path / "log").read_text()
    assert ("the job is requeued" if answer == 0 else "SLURM did not requeue the job") in said
    assert "Traceback" not in said


def others_files(folder):
    """All but what the training under way writes now and then."""
    found = sorted((folder / "runs").rglob("*"))
    return [path for path in found if not {"checkpoints", "logs"} & set(path.parts)]


def test_the_same_command_at_once_leaves_with_a_line(training, tmp_path, capsys):
    process = training()
    before = others_files(tmp_path)
    words = ["fit", *SMALL, "--runs", str(tmp_path / "runs"), "--trainer.max_epochs", "2000"]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"is being written by process {process.pid} on" in said
    assert others_files(tmp_path) == before
    assert process.is_alive()


def test_a_checkpoint_of_something_else_is_one_line(training, tmp_path, capsys):
    """Whole, safe and of this run's name, but of another network."""
    import torch

    assert ended(training(), signal.SIGTERM) == 143
    (kept,) = (tmp_path / "runs").glob("*/*/*/*/checkpoints/last.ckpt")
    whole = read_checkpoint(kept)
    words = ["fit", *SMALL, "--runs", str(tmp_path / "runs"), "--trainer.max_epochs", "2000"]
    for damage in ("state_dict", "optimizer_states", "loops", "epoch"):
        damaged = dict(whole)
        if damage == "state_dict":
            damaged["state_dict"] = {"other": torch.ones(3)}
        else:
            damaged[damage] = (
                [{"state": {}, "param_groups": []}] if damage == "optimizer_states" else {"x": 1}
            )
        torch.save(damaged, kept)
        capsys.readouterr()
        assert main(words) == 2, damage
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert "last.ckpt" in said.strip().splitlines()[-1], said
