"""Two processes give what one gives: codes, scores, loss and gradients, for every registered method."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fghash.registry import METHODS

SCRIPT = Path(__file__).parent / "two_processes.py"


def run(folder, n_processes):
    folder.mkdir()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(SCRIPT.parent),
        "CUDA_VISIBLE_DEVICES": "",
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(rank), str(n_processes)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(n_processes)
    ]  # fmt: skip
    printed = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0] * n_processes, "\n".join(printed)[-3000:]
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return run(folder / "one", 1), run(folder / "two", 2)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_codes_scores_loss_and_gradients_are_those_of_one_process(name, both):
    one, two = (dict(np.load(folder / f"{name}.npz")) for folder in both)
    assert one.keys() == two.keys()
    assert "loss" in one
    assert sum(key.startswith("backbone") for key in one) > 10
    for key in one:
        if one[key].dtype == np.float64:
            scale = np.abs(one[key]).max(initial=1e-30)
            assert np.abs(one[key] - two[key]).max(initial=0) <= 1e-10 * max(scale, 1.0), key
        elif one[key].dtype == np.float32:
            assert np.allclose(one[key], two[key], atol=1e-6), key
        else:
            assert np.array_equal(one[key], two[key]), key
