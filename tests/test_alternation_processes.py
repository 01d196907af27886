"""Subset, outputs, code step, coins and anchors are global: two processes train what one trains."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "alternation_processes.py"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One training in one process and one in two, all at once."""
    folder = tmp_path_factory.mktemp("alternation")
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    started = []
    for n_processes in (1, 2):
        (folder / str(n_processes)).mkdir()
        for rank in range(n_processes):
            command = [
                sys.executable,
                str(SCRIPT),
                str(folder / str(n_processes)),
                str(rank),
                str(n_processes),
            ]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            started.append(subprocess.Popen(command, env=environment, **pipes))
    printed = [process.communicate(timeout=900)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], "\n".join(printed)[-3000:]
    return folder


@pytest.mark.parametrize("name", ["adsh", "exchnet"])
def test_two_processes_train_what_one_trains(name, folders):
    alone = dict(np.load(folders / "1" / f"{name}0.npz"))
    assert int(alone["alternation.steps"]) == 4
    assert all(np.isfinite(value).all() for value in alone.values())
    assert name == "adsh" or (alone["exchanging"] and np.abs(alone["anchors"]).sum() > 0)
    for rank in (0, 1):
        shared = dict(np.load(folders / "2" / f"{name}{rank}.npz"))
        assert shared.keys() == alone.keys()
        for key, value in alone.items():
            assert np.allclose(value, shared[key], rtol=1e-9, atol=1e-9), key
        assert np.array_equal(shared["alternation.codes"], alone["alternation.codes"])
