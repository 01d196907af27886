"""A table whose driver is killed at random moments: nothing is lost or doubled, and it ends as without kills.

``FGHASH_KILLS=20`` kills it that often (default 1).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from fghash.report import leaderboard
from fghash.store.index import stored_runs
from image_folder import write_images

TABLE = """\
axes:
  method: [hashnet, classify]
  bits: [8, 16]
common:
  data: {name: folder, root: ROOT, image_size: 32}
  trainer: {max_epochs: 2}
  batch_size: 6
  checkpoint_minutes: 0
  gpus: 0
"""
KILLS = int(os.environ.get("FGHASH_KILLS", "1"))


def start(table, runs):
    code = "import sys; from fghash.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "bench", str(table), "--runs", str(runs)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(table, runs):
    process = start(table, runs)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def scores(runs):
    frame = leaderboard(runs)
    return frame.drop(columns=["train_seconds"])


@pytest.fixture
def table(tmp_path):
    root = write_images(tmp_path / "images")
    path = tmp_path / "kills.yaml"
    path.write_text(TABLE.replace("ROOT", str(root)))
    return path


def test_a_killed_driver_loses_and_doubles_nothing(table, tmp_path):
    began = time.monotonic()
    finish(table, tmp_path / "whole")
    seconds = time.monotonic() - began
    whole, runs, moments = scores(tmp_path / "whole"), tmp_path / "killed", random.Random(0)
    for _ in range(KILLS):
        process = start(table, runs)
        time.sleep(moments.uniform(0.2, 0.9) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if runs.is_dir():
            leaderboard(runs)  # readable at each moment
            assert not [line for run in stored_runs(runs) for line in run.skipped]
    printed = finish(table, runs)
    assert "4 cells" in printed
    pd.testing.assert_frame_equal(scores(runs), whole)
    assert len(list(runs.glob("folder/*/*/*/finished"))) == 4
    assert not list(runs.rglob("*.tmp*"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_worker_that_dies_is_one_failed_cell(table, tmp_path):
    runs = tmp_path / "runs"
    text = table.read_text().replace("[hashnet, classify]", "[hashnet]").replace("[8, 16]", "[8]")
    table.write_text(text)
    process = start(table, runs)
    while not (workers := children(process.pid)):
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "1 of 1 cells failed" in printed
    assert "SIGKILL" in printed
    assert "Traceback" not in printed


def children(pid):
    """The ids of the processes that this one has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in listed.read_text().split()]
