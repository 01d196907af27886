"""``fghash encode`` killed at random moments ends in the file of an undisturbed call.

python -m pytest tests/faults/test_encoding_kills.py -m slow
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from fghash.search.coded_items import load_items
from small_runs import small_run

pytestmark = pytest.mark.slow
KILLS, IMAGES = 20, 6000
COMMAND = [sys.executable, "-c", "import sys; from fghash.cli import main; sys.exit(main(sys.argv[1:]))"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs"), "itq")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 40, 3), np.uint8)
    for i in range(IMAGES):
        pixels = np.roll(noise[i % 64], i // 64, axis=1)
        Image.fromarray(pixels).save(folder / f"{i:05d}.png", compress_level=0)
    return folder


@pytest.mark.parametrize("more", [[], ["--cpus", "2"]], ids=["one", "two"])
def test_any_kill_costs_a_block_at_most(run, images, tmp_path, more):
    whole, out = tmp_path / "whole.npz", tmp_path / "codes.npz"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [*COMMAND, "encode", str(run), str(images), *more]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    started = time.monotonic()
    subprocess.run([*words, "--out", str(whole)], check=True, **quiet)
    duration = time.monotonic() - started
    draw, killed = random.Random(0), 0
    while killed < KILLS:
        process = subprocess.Popen([*words, "--out", str(out)], start_new_session=True, **quiet)
        try:
            process.wait(draw.uniform(0.3, 1.0) * duration)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        else:
            assert process.returncode == 0
            same(whole, out)
            out.unlink()
        if out.exists():  # killed on its last steps: the file is whole, and the same command tidies up
            same(whole, out)
            subprocess.run([*words, "--out", str(out)], check=True, **quiet)
            assert not out.with_name("codes.npz.parts").exists()
            out.unlink()
    subprocess.run([*words, "--out", str(out)], check=True, **quiet)
    same(whole, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.npz", "whole.npz"]


def same(first, second):
    ours, theirs = load_items(first), load_items(second)
    assert ours.ids.tolist() == theirs.ids.tolist()
    assert np.array_equal(ours.codes.bits, theirs.codes.bits)
