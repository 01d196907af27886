"""One training on two machines of one process each, over gloo, as experiments/cluster/torchrun.sh does."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fghash.report import leaderboard

SCRIPT = Path(__file__).parents[1] / "experiments" / "cluster" / "torchrun.sh"
FIT = (
    "--method hashnet --data synthetic --data.image_size 32 --data.families 2 --data.train_images 16 "
    "--data.query_images 8 --bits 8 --batch_size 16 --gpus 0 --trainer.max_epochs 2 "
    "--trainer.enable_progress_bar false"
)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_two_machines_store_one_run(tmp_path):
    folder = Path(sys.executable).parent
    common = {
        **os.environ, "NODES": "2", "ADDRESS": "127.0.0.1", "PORT": str(free_port()), "OMP_NUM_THREADS": "1",
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    words = [str(SCRIPT), *FIT.split(), "--runs", str(tmp_path / "runs")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    processes = [subprocess.Popen(words, env={**common, "RANK": str(rank)}, **pipes) for rank in (0, 1)]
    try:
        said = [process.communicate(timeout=240)[0].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    frame = leaderboard(tmp_path / "runs")
    assert len(frame) == 1
    (provenance,) = (tmp_path / "runs").glob("*/*/*/*/provenance.json")
    assert json.loads(provenance.read_text())["processes"] == 2
    assert sum("leaderboard: " in text for text in said) == 1


def test_two_processes_on_one_cpu_give_what_one_gives(tmp_path):
    """``--cpus 2`` is ``--gpus 2`` without GPUs: one command, two gloo processes, one run, the same codes."""
    from fghash.store import RunFolder

    words = [str(Path(sys.executable).parent / "fghash"), "fit", *FIT.split()]
    words[words.index("hashnet")] = "itq"
    codes = []
    for place, more in (("one", []), ("two", ["--cpus", "2"])):
        command = [*words, "--runs", str(tmp_path / place), *more]
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=240
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().count("leaderboard: ") == 1
        assert b"deprecated" not in done.stderr
        (provenance,) = (tmp_path / place).glob("*/*/*/*/provenance.json")
        assert json.loads(provenance.read_text())["processes"] == 1 + len(more) // 2
        codes.append(RunFolder(provenance.parent).read_codes(8, "network", "gallery")[0].bits)
    assert codes[0].shape == codes[1].shape
    assert (codes[0] == codes[1]).mean() > 0.99
