"""``fghash doctor``: what it finds, and what it says to do."""

import json
from pathlib import Path

import pytest

from fghash import doctor
from fghash.cli import main


@pytest.fixture
def quick(monkeypatch):
    """Without the two processes, which import torch anew."""
    monkeypatch.setattr(
        doctor, "_all_reduce", lambda: iter([doctor.Finding("gloo", doctor.GOOD, "left out")])
    )
    monkeypatch.setattr(
        doctor, "_wandb", lambda: iter([doctor.Finding("wandb", doctor.NOTE, "left out", "x")])
    )


def test_a_page_a_line_each_and_status_0(quick, tmp_path, capsys):
    assert main(["doctor", "--runs", str(tmp_path / "runs"), "--cache", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("0 bad")
    topics = " ".join(line[5:23].strip() for line in lines)
    for topic in (
        "python",
        "torch",
        "torchvision",
        "cpu",
        "kernels",
        "compiler",
        "runs",
        "cache",
        "methods",
        "gloo",
    ):
        assert topic in topics
    assert any(line.startswith("ok   kernels") and "the evaluator works" in line for line in lines)


def test_json_holds_the_same(quick, tmp_path, capsys):
    assert main(["doctor", "--runs", str(tmp_path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert all({"topic", "state", "said", "advice"} == set(each) for each in content["findings"])
    assert all(each["advice"] for each in content["findings"] if each["state"] != "ok")


def test_a_known_bad_version_and_a_missing_library_are_bad(quick, monkeypatch, tmp_path, capsys):
    versions = {"torch": "2.13.0+cpu", "timm": None}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, "1.0"))
    assert main(["doctor", "--runs", str(tmp_path)]) == 2
    shown = capsys.readouterr().out
    assert "bad  torch             2.13.0+cpu" in shown
    assert "-> its CPU wheel breaks torchvision" in shown
    assert "-> pip install timm" in shown
    assert "2 bad" in shown


def test_what_cannot_be_looked_at_is_a_finding(quick, monkeypatch, tmp_path, capsys):
    def broken():
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "_operators", broken)
    assert main(["doctor", "--runs", str(tmp_path)]) == 2
    assert "operator torchvision::nms does not exist" in capsys.readouterr().out


def test_data_sets_are_read(quick, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["doctor", "--runs", str(tmp_path), "--data", f"cub200={tmp_path / 'empty'}"]) == 2
    shown = capsys.readouterr().out
    assert "data cub200" in shown
    assert "-> fghash data check cub200 --root" in shown
    assert main(["doctor", "--data", "cub200"]) == 2
    assert "--data: 'cub200', expected NAME=DIR" in capsys.readouterr().err
    assert main(["doctor", "--runs", str(tmp_path), "--data", f"cub20={tmp_path}"]) == 2
    assert "did you mean 'cub200'" in capsys.readouterr().out


def test_little_space_is_a_note_and_a_place_that_cannot_be_written_is_bad(monkeypatch, tmp_path):
    (full,) = doctor._disk("runs", tmp_path / "runs")
    assert full.state in (doctor.GOOD, doctor.NOTE)
    monkeypatch.setattr(doctor, "_LITTLE", 1e30)
    (little,) = doctor._disk("runs", tmp_path / "runs")
    assert little.state == doctor.NOTE
    assert "fghash runs prune" in little.advice
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    (closed,) = doctor._disk("runs", Path(tmp_path))
    assert closed.state == doctor.BAD


@pytest.mark.xdist_group("processes")
def test_two_processes_add_a_number():
    (found,) = doctor._all_reduce()
    assert (found.topic, found.state) == ("gloo", doctor.GOOD)


def test_a_failed_sum_is_bad(monkeypatch):
    monkeypatch.setattr(doctor, "_reduce", _fails)
    monkeypatch.setattr("torch.multiprocessing.get_context", lambda kind: _Context())
    (found,) = doctor._all_reduce()
    assert found.state == doctor.BAD
    assert "loopback" in found.advice


def _fails(rank, port):
    raise SystemExit(1)


class _Context:
    """Processes that end at once with status 1."""

    class Process:
        exitcode = 1

        def __init__(self, target, args):
            pass

        def start(self):
            pass

        def join(self, timeout):
            pass

        def kill(self):
            pass
