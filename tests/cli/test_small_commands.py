from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fghash.cli import main
from fghash.registry import DATASETS, METHODS


def test_list_tells_paper_year_and_certainty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "methods"]) == 0
    out = capsys.readouterr().out
    for name, info in METHODS.items():
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert str(info.year or "") in line
        assert info.summary in line
        assert info.certainty in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 120


def test_list_data_sets_says_which_need_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    out = capsys.readouterr().out
    assert out.count("needs: --data.root") == sum(info.needs_root for info in DATASETS.values())


def test_leaderboard_of_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["leaderboard", "--runs", str(tmp_path), "--out", str(tmp_path / "l.csv")]
    assert main([*words, "--out", str(tmp_path / "l.md")]) == 0
    assert (
        (tmp_path / "l.csv")
        .read_text()
        .startswith("data,method,bits,backbone,gallery_codes,seeds,map,map_std")
    )
    assert (tmp_path / "l.md").exists()
    assert "l.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list", "list: the following arguments are required: methods|datasets"),
        ("list method", "unknown name 'method' (known: methods, datasets), did you mean 'methods'?"),
        ("leaderboard --runs nowhere", "nowhere"),
        ("leaderboard --out a.xlsx", "a.xlsx"),
        ("leaderboard --publish", "unknown option '--publish', did you mean '--published'?"),
    ],
)
def test_refusals(refused: Callable[..., str], words: str, said: str) -> None:
    assert said in refused(*words.split())


def test_what_never_imports_torch(tmp_path: Path, stored: Callable[..., str]) -> None:
    script = """
        import sys
        import numpy as np
        from fghash.cli import main
        np.savez("g.npz", codes=np.eye(4, dtype=bool), labels=np.arange(4))
        evaluate = ["evaluate", "--gallery", "g.npz", "--queries", "g.npz"]
        run = sys.argv[1]
        done = [
            ["--help"], ["--version"], ["fit", "--help"], ["list", "methods"], ["list", "datasets"],
            ["data"], ["data", "list"],
            ["leaderboard", "--runs", ".", "--out", "l.csv"], ["leaderboard", "--runs", ".", "--published"],
            [*evaluate, "--kernel", "numpy", "--bootstrap", "100", "--curves", "c", "--plots"],
            [*evaluate, "--kernel", "numpy", "--convention", "fish"], [*evaluate, "--all-conventions"],
            ["compare", "--samples", "100", run, run],
        ]
        fit = ["fit", "--method", "hashnet"]
        refused = [
            ["fit", "--method", "hasnet"], [*fit, "--bits", "0"], [*fit, "--data", "x"],
            [*fit, "--config", "x"], ["data", "prepare", "nabirds", "--root", "x"],
            ["data", "prepare", "cub200", "--root", "g.npz"], ["data", "check", "cub200", "--root", "x"],
            [*fit, "--preset", "x"], [*fit, "--data", "cub200"], [*fit, "--optim.lr", "x"],
            [*fit, "--runs", "g.npz"], [*fit, "--trainer.devices", "1"],
        ]
        for words in done:
            assert main(words) == 0, words
        for words in refused:
            assert main(words) == 2, words
        loaded = {"torch", "pytorch_lightning", "timm", "torchvision"} & set(sys.modules)
        assert not loaded, loaded
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), stored("hashnet")],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
