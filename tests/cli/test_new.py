"""``fghash new``: the package it writes is found by fghash, and its test passes as written."""

import os
import sys

import pytest

from fghash.cli import main
from fghash.registry import DATASETS, METHODS
from processes import run_all

pytestmark = pytest.mark.xdist_group("processes")


def installed(folder, name, group):
    """What ``pip install`` leaves behind: entry points beside the package."""
    info = folder / f"fghash_{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fghash-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = fghash_{name}:ENTRY\n")


def own_tests(folder):
    """Its own tests, in a process that finds the package."""
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "--rootdir", str(folder)]
    assert pytest.main([*arguments, "tests"]) == 0


@pytest.mark.parametrize(("kind", "name"), [("method", "my_signs"), ("dataset", "finches")])
def test_the_test_of_a_skeleton_passes_as_written(kind, name, tmp_path, capsys):
    folder = tmp_path / "package"
    assert main(["new", kind, name, str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "next: pip install --editable" in shown
    assert not [path for path in folder.rglob("*") if "$" in path.name or "NAME" in path.name]
    installed(folder, name, "fghash.methods" if kind == "method" else "fghash.data")
    run_all([(own_tests, folder)], tmp_path)
    log = (tmp_path / "job0.log").read_text()
    assert "passed" in log
    assert "skipped" not in log
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not any("$" in text for text in texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plugin", "x", "DIR"], "new: unknown kind 'plugin' (known: method, dataset)"),
        (["method", "hashnet", "DIR"], "NAME: 'hashnet' is the name of a method already"),
        (["dataset", "cub200", "DIR"], "NAME: 'cub200' is the name of a dataset already"),
        (["method", "My-Method", "DIR"], "NAME: 'My-Method', expected a small letter"),
        (["method", "class", "DIR"], "NAME: 'class', expected"),
        (["method", "mine", "FULL"], "is there and not empty, expected a new folder"),
        (["method", "mine", "FILE"], "is there and not empty"),
        (["method", "mine"], "new: the following arguments are required: DIR"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(words, message, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("kept")
    places = {"DIR": tmp_path / "new", "FULL": tmp_path / "full", "FILE": tmp_path / "full" / "kept"}
    assert main(["new", *(str(places.get(word, word)) for word in words)]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert (tmp_path / "full" / "kept").read_text() == "kept"
    assert not (tmp_path / "new").exists()


def test_planned_methods_are_listed_with_what_is_missing(capsys):
    assert main(["list", "methods", "--planned"]) == 0
    shown = capsys.readouterr().out
    assert "agmh" in shown
    assert shown.count("missing:") >= 5
    assert main(["list", "datasets", "--planned"]) == 2
    assert "--planned: of datasets, expected methods" in capsys.readouterr().err


def test_what_is_planned_is_not_here():
    from fghash.methods.planned import PLANNED

    assert not PLANNED.keys() & (METHODS.keys() | DATASETS.keys())
