"""Every bad command line ends in one line and status 2, before anything is trained or written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fghash.cli import main

Refused = Callable[..., str]

FIT = ["fit", "--method", "hashnet"]
TUNE = ["tune", "--method", "hashnet", "--data", "synthetic", "--data.validation", "0.2"]
CANNOT = ["fit", "--data", "synthetic", "--gpus", "0", "--trainer.accumulate_grad_batches", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fti"], "command: unknown name 'fti'.*did you mean 'fit'"),
        (["fit"], r"--method: required \(known: .*hashnet"),
        (["fit", "--method", "hasnet"], "--method: unknown name 'hasnet'.*did you mean 'hashnet'"),
        ([*FIT, "--data", "cub20"], "--data: unknown name 'cub20'.*did you mean 'cub200'"),
        ([*FIT, "--preset", "faithfull"], "--preset: method hashnet has no preset.*did you mean 'faithful'"),
        ([*FIT, "--tracking", "wandb,wadnb"], "--tracking: unknown name 'wadnb'.*did you mean 'wandb'"),
        ([*FIT, "--bits", "0"], "--bits: expected a whole number of at least 1, got '0'"),
        ([*FIT, "--bits", "-8"], "--bits: .*got '-8'"),
        ([*FIT, "--bits", "abc"], "--bits: .*got 'abc'"),
        ([*FIT, "--bits", "8.5"], "--bits: .*got '8.5'"),
        ([*FIT, "--gpus", "-1"], "--gpus: expected a whole number of at least 0, got '-1'"),
        ([*FIT, "--seed", "x"], "--seed: "),
        ([*FIT, "--on_nan", "skip"], "--on_nan: .*expected stop, or skip and a number"),
        ([*FIT, "--on_nan", "skip", "0"], "--on_nan: expected a whole number of at least 1, got '0'"),
        ([*FIT, "--on_nan"], "--on_nan: a value is missing"),
        ([*FIT, "--checkpoint_minutes", "-1"], "--checkpoint_minutes: expected a number from 0 to 1440"),
        ([*TUNE, "--cpus", "2"], "--cpus: 2, not available here: a trial trains on one process"),
        ([*FIT, "--score_at", "0.5"], "--score_at: 0.5, expected --data.validation above 0"),
        ([*FIT, "--score_at", "0,1"], "--score_at: 0, expected parts of the training above 0"),
        ([*FIT, "--score_at", "0.5,x"], "--score_at: expected a number"),
        ([*FIT, "--batch_size", "0"], "--batch_size: "),
        ([*FIT, "--cutoffs", "1", "0"], "--cutoffs: "),
        ([*FIT, "--config", "none.yaml"], "--config: cannot read 'none.yaml'"),
        ([*FIT, "--bist", "8"], "--bist: unknown setting 'bist'.*did you mean 'bits'"),
        ([*FIT, "--optim.lrr", "8"], "--optim.lrr: unknown setting 'lrr' of the optimiser.*'lr'"),
        ([*FIT, "--optim.lr", "x"], "--optim.lr: expected float, got 'x'"),
        ([*FIT, "--optim", "sdg"], "--optim.name: expected sgd, adam, adamw, rmsprop, got 'sdg'"),
        ([*FIT, "--backbone.wieghts", "x"], "unknown setting 'wieghts' of the backbone.*'weights'"),
        ([*FIT, "--backbone.weights", "no.pth"], "--backbone.weights: no file 'no.pth'"),
        ([*FIT, "--data", "cub200"], "--data.root: data set cub200 needs"),
        ([*FIT, "--data", "cub200", "--data.root", "nowhere"], "--data.root: no such folder 'nowhere'"),
        ([*FIT, "--trainer.devices", "2"], "--trainer.devices: .*use --gpus"),
        ([*FIT, "--trainer.accelerator", "cpu"], "--trainer.accelerator: .*use --gpus"),
        ([*FIT, "--trainer.strategy", "ddp"], "--trainer.strategy: .*use --gpus"),
        ([*FIT, "--trainer.logger", "x"], "--trainer.logger: .*use --tracking"),
        ([*FIT, "--trainer.callbacks", "x"], "--trainer.callbacks: .*--data.validation"),
        ([*FIT, "--trainer.default_root_dir", "x"], "--trainer.default_root_dir: .*use --runs"),
        ([*FIT, "--trainer", "x"], "--trainer: expected settings"),
    ],
)  # fmt: skip
def test_without_importing_a_class(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    def imported(*_: object) -> None:
        raise AssertionError("a class was imported before this was refused")

    monkeypatch.setattr("fghash.settings.typed.heavy_sections", imported)
    assert_matches(refused(*words), said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [*FIT, "--method.alhpa", "1"],
            r"--method.alhpa: unknown setting 'alhpa' of method hashnet \(known: alpha.*mean 'alpha'",
        ),
        ([*FIT, "--method.alpha", "abc"], "--method.alpha: expected float or null, got 'abc'"),
        ([*FIT, "--method.alpha.beta", "1"], "--method.alpha: expected float or null"),
        ([*FIT, "--method.pairs", "some"], "--method.pairs: expected all, cross, got 'some'"),
        ([*FIT, "--data.smapler", "pk"], "unknown setting 'smapler' of data set synthetic.*'sampler'"),
        ([*FIT, "--data.batch_size", "8"], "--data.batch_size: unknown setting"),
        ([*FIT, "--trainer.max_epoch", "3"], "--trainer.max_epoch: unknown setting.*'max_epochs'"),
        ([*FIT, "--trainer.max_epochs", "x"], "--trainer.max_epochs: expected int or null, got 'x'"),
    ],
)  # fmt: skip
def test_settings_of_a_class(refused: Refused, words: list[str], said: str) -> None:
    assert_matches(refused(*words), said)


def test_a_file_is_named_as_the_place(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("method: {name: hashnet, alhpa: 1}\nbits: many")
    assert_matches(refused("fit", "--config", "my.yaml"), "my.yaml: bits: .*got 'many'")
    assert_matches(
        refused("fit", "--config", "my.yaml", "--bits", "8"), "my.yaml: method.alhpa: unknown setting"
    )


def test_a_runs_folder_that_cannot_be_made(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_matches(refused(*FIT, "--runs", "file"), "runs: cannot write")


def assert_matches(line: str, pattern: str) -> None:
    assert re.search(pattern, line), line


@pytest.mark.parametrize(("method", "why"), [("dpq", "it has several optimisers"), ("itq", ".* closed form")])
def test_what_a_method_cannot_do_is_refused_before_anything_is_written(method, why, tmp_path, capsys):
    assert main([*CANNOT, "--method", method, "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert re.search(f"--trainer.accumulate_grad_batches: 2, {method} cannot: {why}", said[-1])
    assert not list(tmp_path.glob("runs/*/*"))
