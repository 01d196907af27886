"""The CPU half of experiments/gpu/check.sh: the same parts run, small, and give one table."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def load():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "experiments" / "gpu" / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_parts_that_need_no_gpu_give_a_table(tmp_path, capsys):
    check = load()
    parts = [part for part in check.PARTS if part != "training"]  # in a process of its own: half a minute
    assert check.main(["--cpu", "--out", str(tmp_path / "report.md"), "--parts", *parts]) == 0
    report = (tmp_path / "report.md").read_text()
    assert report.startswith("## CPU, torch")
    assert "failed" not in report
    assert "DIFFER" not in report
    assert all(line.count("|") == 3 for line in report.splitlines()[2:])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path, capsys):
    with pytest.raises(SystemExit):
        load().main(["--out", str(tmp_path / "report.md")])
    assert "no CUDA GPU here" in capsys.readouterr().err


def test_the_script_is_bash_that_parses():
    script = ROOT / "experiments" / "gpu" / "check.sh"
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    done = subprocess.run([bash, "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
