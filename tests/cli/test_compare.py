from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fghash.cli import main
from fghash.evaluation import RetrievalProtocol, compare
from fghash.store import RunFolder

QUICK = ["--samples", "100"]
Stored = Callable[..., str]
Refused = Callable[..., str]


def test_a_comparison(stored: Stored, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = stored("hashnet"), stored("phpq", seed=1)
    assert main(["compare", a, b, *QUICK, "--cutoffs", "5", "--json", "o.json"]) == 0
    out = json.loads(Path("o.json").read_text())
    groups = [RunFolder(Path(each)).read_groups(8, "network") for each in (a, b)]
    wanted = compare(*groups, RetrievalProtocol(cutoffs=(5,)), samples=100)
    assert out == {"run_a": a, "run_b": b, "bits": 8, "gallery_codes": "network", **wanted}
    assert out["map"]["difference"] == pytest.approx(out["map"]["b"] - out["map"]["a"])
    assert out["map"]["low"] < out["map"]["difference"] < out["map"]["high"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8-bit network codes: a is hashnet, b is phpq"
    assert lines[1].split() == ["score", "a", "b", "difference", "low", "high", "p_value"]
    assert {len(line.split()) for line in lines[2:-2]} == {7}


def test_only_codes_of_equal_kind_are_compared(stored: Stored) -> None:
    a = stored("dpq", (8, "network"), (4, "network"), (2, "network"))
    b = stored("exchnet", (8, "learned"), (4, "network"), (2, "network"), seed=1)
    assert main(["compare", a, b, *QUICK, "--json", "o.json"]) == 0
    rows = json.loads(Path("o.json").read_text())["records"]
    assert [(row["bits"], row["gallery_codes"]) for row in rows] == [(2, "network"), (4, "network")]


def test_a_run_is_equal_to_itself(stored: Stored) -> None:
    a = stored("hashnet")
    assert main(["compare", a, a, *QUICK, "--json", "o.json"]) == 0
    scores = json.loads(Path("o.json").read_text())["map"]
    assert (scores["difference"], scores["p_value"]) == (0, 1)


def test_runs_of_different_data(stored: Stored, refused: Refused) -> None:
    a, b = stored("hashnet"), stored("phpq", fingerprint="f01")
    assert "different data (synthetic f00 and synthetic f01)" in refused("compare", a, b)


def test_runs_without_codes_of_equal_kind(stored: Stored, refused: Refused) -> None:
    a, b = stored("exchnet", (8, "learned")), stored("phpq", (8, "network"), (4, "network"))
    said = refused("compare", a, b)
    assert "no codes of equal kind, the runs have 8-bit learned and 4-bit network, 8-bit network" in said


def test_a_run_without_tie_groups(stored: Stored, refused: Refused) -> None:
    a = stored("hashnet")
    (Path(a) / "groups/8-network.npz").unlink()
    assert "has no tie groups of its 8-bit network codes" in refused("compare", a, a)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runs/a", "two runs are required"),
        ("runs/a runs/b", "runs/a is not the folder of a finished run"),
        ("runs/a runs/b --samples 10", "--samples: expected a whole number of at least 100"),
        ("runs/a runs/b --cutoffs 0", "--cutoffs"),
        ("runs/a runs/b --sample 100", "did you mean '--samples'"),
    ],
)
def test_refusals(refused: Refused, words: str, said: str) -> None:
    assert said in refused("compare", *words.split())
