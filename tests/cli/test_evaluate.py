from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fghash.cli import main
from fghash.evaluation import CONVENTIONS, OWN
from fghash.store import RunFolder

FILES = "--gallery g.npz --queries q.npz"
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


def evaluated(words: str, *more: str, files: str = FILES, status: int = 0) -> dict[str, Any]:
    """What ``fghash evaluate FILES WORDS`` writes as JSON."""
    assert main(["evaluate", *files.split(), *words.split(), *more, "--json", "out.json"]) == status
    found: dict[str, Any] = json.loads(Path("out.json").read_text())
    return found


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
        (
            "--gallery g.npz --queries q.npz --cutoffs 0",
            "--cutoffs: expected a whole number of at least 1, got '0'",
        ),
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


def test_as_another_code_base_scores(files: Path) -> None:
    np.savez("q.npz", codes=~PERFECT, labels=LABELS)
    scores = evaluated("--convention deephash-pytorch --cutoffs 3", *QUICK)
    assert scores["protocol"] == "deephash-pytorch-1@3"
    # Own items are farthest, and the last item is not looked at: two hits among ranks 10 to 12 or one fewer.
    ours = evaluated("--cutoffs 3", *QUICK)
    assert ours["map"] == pytest.approx((1 / 10 + 2 / 11 + 3 / 12) / 3)
    assert scores["map"] == pytest.approx((1 / 10 + 2 / 11) / 2)
    assert "map_best_ties" not in scores


def test_a_device_changes_no_score(files: Path) -> None:
    np.savez("q.npz", codes=np.roll(PERFECT, 1, axis=0), labels=LABELS)
    assert evaluated("--device cpu") == evaluated("", *QUICK)


def test_intervals(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("q.npz", codes=np.roll(PERFECT, 1, axis=0), labels=LABELS)
    out = evaluated("--bootstrap 200", *QUICK)
    low, high = out["intervals"]["map"]
    assert 0 < low < out["map"] < high <= 1
    assert f"95 %: {low:.6f} to {high:.6f}" in capsys.readouterr().out
    assert "intervals" not in evaluated("", *QUICK)


def test_a_table_of_all_conventions(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = evaluated("--all-conventions --cutoffs 2")["conventions"]
    assert [row["convention"] for row in rows] == [*OWN, *CONVENTIONS]
    assert {row["map"] for row in rows} == {1.0}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["convention", "map", "map_at_2", "summary"]
    assert lines[1].startswith("fghash  ")


def test_curves(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated("--curves c --plots", *QUICK)
    assert {path.name for path in Path("c").iterdir()} == {"precision_at_n.csv", "radius.csv"}
    assert "curves: c/radius.csv" in capsys.readouterr().out


def test_plots(files: Path) -> None:
    evaluated("--curves c --plots svg", *QUICK)
    assert Path("c/precision_at_n.svg").read_text().startswith("<?xml")
    assert not list(Path("c").glob("*.png"))


def test_nothing_to_draw(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("q.npz", codes=PERFECT, labels=LABELS + 10)
    words = "--curves c --bootstrap 100 --convention fghash-hits"
    assert evaluated(words, *QUICK, status=2)["intervals"] == {}
    assert not Path("c").exists()
    assert evaluated("--convention oml", *QUICK, status=2)["map"] == 1.0
    assert evaluated("--all-conventions", status=2)["conventions"][0]["map"] is None
    assert capsys.readouterr().err.count("nothing to score\n") == 3


def test_a_run_keeps_its_new_scores(stored: Callable[..., str]) -> None:
    folder = stored("dpq", (8, "network"), (4, "network"))
    out = evaluated(f"--run {folder} --cutoffs 1 5 --memory 1MB", *QUICK, files="")
    kept = {record.bits: record for record in RunFolder(Path(folder)).records("fghash-1@1,5")}
    assert [row["bits"] for row in out["records"]] == sorted(kept)
    for row in out["records"]:
        about = {"gallery_codes": "network", "protocol": "fghash-1@1,5", "bits": row["bits"]}
        assert row == {**kept[row["bits"]].scores, **about}
        assert row["map_real"] == 0.75


def test_a_run_under_another_convention_is_not_kept(stored: Callable[..., str]) -> None:
    folder = stored("hashnet")
    scores = evaluated(f"--run {folder} --convention pml", *QUICK, files="")
    assert (scores["protocol"], scores["gallery_codes"]) == ("pml-1@1,10,100", "network")
    assert "map_real" not in scores
    assert {record.protocol for record in RunFolder(Path(folder)).records()} == {"fghash-1@1,10,100"}
    rows = evaluated(f"--run {folder} --all-conventions", files="")["conventions"]
    assert next(row["map"] for row in rows if row["convention"] == "pml") == scores["map"]


def test_intervals_and_curves_of_a_run(stored: Callable[..., str]) -> None:
    folder = stored("dpq", (8, "network"), (4, "learned"))
    out = evaluated(f"--run {folder} --bootstrap 100 --curves c --plots", *QUICK, files="")
    assert all(low <= row["map"] <= high for row in out["records"] for low, high in [row["intervals"]["map"]])
    assert {path.name for path in Path("c").iterdir()} == {"8-network", "4-learned"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--convention semicom", "did you mean 'semicon'"),
        (
            "--convention semicon --bootstrap 100",
            "--bootstrap: only for fghash, fghash-hits, fghash-relevant",
        ),
        ("--all-conventions --convention semicon", "leave out --convention"),
        ("--all-conventions --kernel numpy", "leave out --kernel"),
        ("--bootstrap 10", "--bootstrap: expected a whole number of at least 100, got '10'"),
        ("--plots svg", "give --curves"),
        ("--curves c --plots pdf", "argument --plots: invalid choice: 'pdf'"),
        ("--kernel numpy --device cuda", "kernel: 'numpy', expected auto or torch"),
        ("--device meta", "device: 'meta', which torch cannot use here"),
        ("--json q.npz", "--json: 'q.npz' is a name of codes, expected e.g. q.json"),
        ("--json g", "--json: 'g' is read as well, expected another file"),
        ("--json .", "--json: '.' is a folder, expected a file"),
        ("--json nowhere/o.json", "--json: there is no folder 'nowhere' to write 'o.json' in"),
    ],
)
def test_flags_that_do_not_fit(files: Path, refused: Callable[..., str], words: str, said: str) -> None:
    Path("g").symlink_to("g.npz")
    whole = [Path(name).read_bytes() for name in ("g.npz", "q.npz")]
    assert said in refused("evaluate", *FILES.split(), *words.split())
    assert [Path(name).read_bytes() for name in ("g.npz", "q.npz")] == whole


def test_a_damaged_record_takes_one_line(
    stored: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored("hashnet")
    (marker,) = Path(folder, "finished").glob("*.json")
    (marker.parent / "other.json").write_text("{")
    capsys.readouterr()
    assert main(["evaluate", "--run", folder, *QUICK]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("fghash: skipped")


def test_a_run_without_tie_groups(stored: Callable[..., str], refused: Callable[..., str]) -> None:
    folder = stored("hashnet")
    (Path(folder) / "groups/8-network.npz").unlink()
    assert "has no tie groups" in refused("evaluate", "--run", folder, *QUICK, "--bootstrap", "100")
