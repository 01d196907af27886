"""fghash bench on the command line: what is printed, and what is refused."""

import pytest

from fghash.cli import main

TABLE = "common: {data: synthetic}\naxes: {method: [hashnet, phpq], bits: [16, 32]}\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text("# What it is.\n" + TABLE)
    (tmp_path / "file").write_text("")
    return "grid.yaml"


@pytest.mark.parametrize("words", [["grid.yaml", "--dry_run"], ["--runs", "r", "grid.yaml", "--status"]])
def test_the_plan_is_told_and_nothing_is_written(table, tmp_path, capsys, words):
    assert main(["bench", *words]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("What it is.\n  hashnet bits=16: missing\n")
    assert "grid: 4 cells: 4 missing" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "grid.yaml"]


def test_flags_hold_for_every_cell(table, capsys):
    assert main(["bench", table, "--dry_run", "--bits", "24"]) == 0
    assert "grid: 2 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--runs", "x"], "table: required"),
        (["none.yaml"], "table: cannot read 'none.yaml'"),
        (["grid.yaml", "--dryrun"], "unknown option '--dryrun', did you mean '--dry_run'"),
        (["grid.yaml", "--methd", "x"], "unknown option '--methd', did you mean '--method'"),
        (["grid.yaml", "--jobs", "0"], "--jobs: expected a whole number of at least 1"),
        (["grid.yaml", "--cell_cpus", "x"], "--cell_cpus: expected a whole number"),
        (["grid.yaml", "--slurm", "x"], "--slurm: has settings below it"),
        (["grid.yaml", "--config", "x.yaml"], "bench: takes no --config"),
        (["grid.yaml", "--force"], "bench: takes no"),
        (["grid.yaml", "--out", "file/x"], "--out: cannot write below 'file/x'"),
        (["grid.yaml", "--runs", "file/x"], "cannot write"),
        (["grid.yaml", "--method.alpha", "x"], "--method.alpha"),
    ],
)
def test_bad_input_is_one_line_and_status_2(table, capsys, words, line):
    assert main(["bench", *words]) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1
