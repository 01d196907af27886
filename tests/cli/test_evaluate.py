from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fghash.cli import main

QUICK = ["--kernel", "numpy"]
PERFECT = np.eye(4, dtype=bool).repeat(3, axis=0)
LABELS = np.arange(4).repeat(3)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of 4 classes x 3 items with one code a class, and the same items as queries."""
    monkeypatch.chdir(tmp_path)
    np.savez("g.npz", codes=PERFECT, labels=LABELS)
    np.savez("q.npz", codes=PERFECT, labels=LABELS)
    return tmp_path


def test_scores_of_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate --gallery g.npz --queries q.npz --cutoffs 1 10 --json out.json"
    assert main([*words.split(), *QUICK]) == 0
    out = json.loads((files / "out.json").read_text())
    wanted = {
        "map", "map_best_ties", "map_worst_ties", "map_at_1", "map_at_10", "precision_at_10", "recall_at_10",
        "precision_hamming_radius_2", "n_queries", "n_gallery", "n_queries_without_relevant", "bits",
        "protocol",
    }  # fmt: skip
    assert wanted <= set(out)
    assert (out["map"], out["n_queries"], out["bits"]) == (1.0, 12, 4)
    assert out["precision_at_10"] == pytest.approx(0.3)
    assert "map " in capsys.readouterr().out


def test_nothing_to_score(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("q.npz", codes=PERFECT, labels=LABELS + 10)
    words = "evaluate --gallery g.npz --queries q.npz --json out.json"
    assert main([*words.split(), *QUICK]) == 2
    assert json.loads((files / "out.json").read_text())["map"] is None
    assert "no query has a relevant gallery item" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--gallery and --queries are both required"),
        ("--gallery g.npz", "--gallery and --queries are both required"),
        ("--gallery g.npz --queries q.npz --run r", "leave out --gallery"),
        ("--gallery g.npz --queries none.npz", "none.npz"),
        ("--gallery g.npz --queries q.npz --cutoffs 0", "--cutoffs"),
        ("--gallery g.npz --queries q.npz --cutofs 1", "unknown option '--cutofs', did you mean '--cutoffs'"),
        ("--gallery g.npz --queries q.npz --memory lots", "memory"),
        ("--gallery g.npz --queries half.npz", "half.npz"),
        ("--run nowhere", "nowhere"),
    ],
)
def test_refusals(refused: Callable[..., str], words: str, said: str) -> None:
    np.savez("g.npz", codes=PERFECT, labels=LABELS)
    np.savez("q.npz", codes=PERFECT, labels=LABELS)
    np.savez("half.npz", codes=PERFECT * 0.5, labels=LABELS)
    assert said in refused("evaluate", *words.split())


def test_a_stored_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Stored:
        scores: dict[str, Any] = {"map": 0.5}  # noqa: RUF012
        bits, gallery_codes, protocol = 32, "network", "fghash-1@1,5"

    asked = []
    monkeypatch.setattr(
        "fghash.results.rescore.rescore", lambda run, protocol: asked.append((run, protocol)) or [Stored()]
    )
    words = ["evaluate", "--run", "runs/x", "--cutoffs", "1", "5", "--json", str(tmp_path / "o.json")]
    assert main(words) == 0
    assert [(run, protocol.name) for run, protocol in asked] == [(Path("runs/x"), "fghash-1@1,5")]
    assert json.loads((tmp_path / "o.json").read_text()) == {
        "map": 0.5, "bits": 32, "gallery_codes": "network", "protocol": "fghash-1@1,5",
    }  # fmt: skip
