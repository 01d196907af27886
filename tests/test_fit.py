"""`fghash fit` from the command line to the leaderboard, on the embedded data set, small."""

import csv
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

import processes
from contract import WHOLE_RUNS
from fghash.cli import main
from fghash.presets import preset_names
from fghash.registry import METHODS
from fghash.training.checkpoints import read_checkpoint
from fghash.training.within_epoch import EpochDraws
from stored_codes import stored_codes

SMALL = [
    "--data.families", "3", "--data.classes_per_family", "3", "--data.train_images", "8",
    "--data.query_images", "3", "--data.image_size", "32", "--data.sampler", "shuffle",
    "--backbone", "test_resnet", "--batch_size", "8", "--gpus", "0",
    "--trainer.enable_progress_bar", "false", "--optim.lr", "0.01",
]  # fmt: skip


def fit(runs, *more, method="hashnet", epochs=2, bits=16):
    words = [
        "fit",
        "--method",
        method,
        "--bits",
        str(bits),
        "--runs",
        str(runs),
        "--trainer.max_epochs",
        str(epochs),
    ]
    return main([*words, *SMALL, *more])


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def rows(runs):
    with (runs / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("straight") / "runs"
    assert fit(runs, epochs=4) == 0
    return runs


def test_a_run_ends_in_a_leaderboard_row(straight):
    (row,) = rows(straight)
    assert list(row)[:8] == ["data", "method", "bits", "backbone", "gallery_codes", "seeds", "map", "map_std"]
    assert (row["data"], row["method"], row["bits"], row["seeds"], row["map_std"]) == (
        "synthetic",
        "hashnet",
        "16",
        "1",
        "",
    )
    assert 0 < float(row["map"]) <= 1
    assert float(row["map_worst_ties"]) <= float(row["map"]) <= float(row["map_best_ties"])
    assert row["map_real"]
    assert row["map_within_family"]


def test_a_row_says_what_its_training_cost(straight):
    (row,) = rows(straight)
    assert (row["preset"], row["epochs"], row["batch_size"], row["stopped_by_time"]) == (
        "default", "4", "8", "False",
    )  # fmt: skip
    assert int(row["image_passes"]) == 4 * 9 * 8  # nine classes of eight images, in whole batches
    assert float(row["train_seconds"]) > 0


def test_a_training_that_time_ended_is_marked_and_its_budget_is_what_it_saw(tmp_path):
    assert fit(tmp_path, "--trainer.max_time", "00:00:00:01", epochs=3000) == 0
    (row,) = rows(tmp_path)
    assert row["stopped_by_time"] == "True"
    assert 0 < int(row["image_passes"]) < 3000 * 72
    assert int(row["epochs"]) == int(row["image_passes"]) // 72


def test_the_same_seed_gives_the_same_codes_and_another_seed_joins_the_row(straight, tmp_path):
    runs = tmp_path / "runs"
    assert fit(runs, epochs=4) == 0
    assert same(stored_codes(runs), stored_codes(straight))
    assert fit(runs, "--seed", "1", epochs=4) == 0
    (row,) = rows(runs)
    assert row["seeds"] == "2"
    assert row["map_std"]


def test_the_printed_config_alone_reproduces_the_run(straight, tmp_path, capsys):
    capsys.readouterr()
    assert fit(tmp_path / "runs", "--print_config", epochs=4) == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(printed)
    assert main(["fit", "--config", str(tmp_path / "printed.yaml")]) == 0
    assert same(stored_codes(tmp_path / "runs"), stored_codes(straight))
    (stored,) = (tmp_path / "runs").glob("*/*/*/*/config.yaml")
    assert yaml.safe_load(stored.read_text()) == yaml.safe_load(printed)


def test_a_finished_run_is_skipped_unless_forced(straight, capsys):
    before = {path: path.stat().st_mtime_ns for path in straight.glob("*/*/*/*/codes/*/*.npz")}
    assert fit(straight, epochs=4) == 0
    assert "finished before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert fit(straight, "--force", epochs=4) == 0
    assert all(path.stat().st_mtime_ns > time_ for path, time_ in before.items())


def test_a_new_cutoff_scores_the_stored_codes_without_training(straight, tmp_path):
    (run,) = (path.parent for path in straight.glob("*/*/*/*/config.yaml"))
    assert main(["evaluate", "--run", str(run), "--cutoffs", "3", "5"]) == 0
    assert main(["leaderboard", "--runs", str(straight), "--out", str(tmp_path / "all.csv")]) == 0
    with (tmp_path / "all.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["map"] for row in table} == {table[0]["map"]}
    assert len(table) == 2
    assert sorted(bool(row["map_at_5"]) for row in table) == [False, True]


def kill_in_training(runs, *more, method, epochs, finished, start):
    """Start the command of :func:`fit` in a process of its own; kill -9 once so many epochs are finished."""
    words = ["fit", "--method", method, "--bits", "16", "--runs", str(runs)]
    process = start([*words, "--trainer.max_epochs", str(epochs), "--checkpoint_minutes", "0", *SMALL, *more])
    try:
        deadline = time.monotonic() + 300
        while epochs_kept(runs) < finished and time.monotonic() < deadline:
            assert process.is_alive()
            time.sleep(0.01)
    finally:
        process.kill()
        process.join()


class Command:
    """The installed command in a new interpreter, with the interface of a process of multiprocessing."""

    def __init__(self, words):
        threads = os.environ.get("OMP_NUM_THREADS", "0")
        code = f"import sys, torch; torch.set_num_threads({threads} or torch.get_num_threads()); "
        code += "from fghash.cli import main; sys.exit(main(sys.argv[1:]))"
        self.process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
        self.is_alive, self.kill = lambda: self.process.poll() is None, self.process.kill
        self.join = self.process.wait


def command_until(epoch, argv, n_threads):
    """The command in a forked process, on as many threads as here, so that sums come in the same order.

    It waits for ever where ``epoch`` would begin: whoever kills it kills it in the middle.
    """
    torch.set_num_threads(n_threads)
    reseed = EpochDraws.on_train_epoch_start

    def wait(self, trainer, pl_module):
        reseed(self, trainer, pl_module)
        while trainer.current_epoch == epoch:
            time.sleep(1)

    EpochDraws.on_train_epoch_start = wait
    return main(argv)


def epochs_kept(runs):
    """Finished epochs of the one checkpoint below a runs folder, 0 without one."""
    kept = list(runs.glob("*/*/*/*/checkpoints/last.ckpt"))
    return read_checkpoint(kept[0])["epoch"] + 1 if kept else 0


@pytest.mark.xdist_group("processes")
def test_killed_in_training_the_same_command_resumes_to_the_same_codes(tmp_path, capsys):
    """End to end, with the command as its user starts it; so many epochs that the signal cannot come late."""
    assert fit(tmp_path / "straight", epochs=25) == 0
    runs = tmp_path / "killed"
    kill_in_training(runs, method="hashnet", epochs=25, finished=1, start=Command)
    assert 1 <= epochs_kept(runs) < 25
    assert main(["leaderboard", "--runs", str(runs), "--out", str(tmp_path / "none.csv")]) in (0, 2)
    capsys.readouterr()
    assert fit(runs, epochs=25) == 0
    assert "resuming from" in capsys.readouterr().out
    assert same(stored_codes(runs), stored_codes(tmp_path / "straight"))


@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("method", ["exchnet", "adsh"])
def test_killed_within_an_outer_iteration_the_same_command_resumes_to_the_same_codes(
    method, tmp_path, capsys
):
    """Three outer iterations of three epochs, the fifth epoch finished: codes, outputs, anchors come back."""
    words, epochs = ["--method.inner", "0.34"], 9
    assert fit(tmp_path / "straight", *words, method=method, epochs=epochs) == 0
    runs = tmp_path / "killed"
    log = tmp_path / "killed.log"
    kill_in_training(
        runs, *words, method=method, epochs=epochs, finished=5,
        start=lambda argv: processes.start(command_until, 5, argv, torch.get_num_threads(), log=log),
    )  # fmt: skip
    assert epochs_kept(runs) == 5
    capsys.readouterr()
    assert fit(runs, *words, method=method, epochs=epochs) == 0
    assert "resuming from" in capsys.readouterr().out
    assert {kind for kind, _, _ in stored_codes(runs)} == {"16-network", "16-learned"}
    assert same(stored_codes(runs), stored_codes(tmp_path / "straight"))


def test_other_cutoffs_of_a_finished_run_need_no_training(straight, capsys):
    assert fit(straight, "--cutoffs", "2", epochs=4) == 0
    assert "finished before" in capsys.readouterr().out
    assert any(row.get("map_at_2") for row in rows(straight))


def test_validation_picks_the_checkpoint_and_the_row_says_so(tmp_path):
    assert fit(tmp_path / "runs", "--data.validation", "0.25", epochs=2) == 0
    (row,) = rows(tmp_path / "runs")
    assert row["selection"] == "val"
    assert "data.validation=0.25" in row["variant"]
    assert int(row["n_gallery"]) == 72


@pytest.mark.parametrize(
    ("method", "preset"), [(name, preset) for name in WHOLE_RUNS for preset in preset_names(name)]
)
def test_every_method_runs_with_both_presets(method, preset, tmp_path):
    assert fit(tmp_path / "runs", "--preset", preset, method=method, epochs=2) == 0
    table = rows(tmp_path / "runs")
    assert {row["method"] for row in table} == {method}
    assert all(0 < float(row["map"]) <= 1 for row in table)
    assert all(row["notes"] == METHODS[method].notes for row in table)


def test_a_network_that_is_not_trained_is_scored_too(tmp_path):
    assert fit(tmp_path / "runs", epochs=0) == 0
    (row,) = rows(tmp_path / "runs")
    assert "trainer.max_epochs=0" in row["variant"]


def test_a_checkpoint_that_is_not_one_is_one_clear_line(straight, tmp_path, capsys):
    runs = tmp_path / "runs"
    (run,) = (path.parent for path in straight.glob("*/*/*/*/config.yaml"))
    broken = runs / run.relative_to(straight) / "checkpoints" / "last.ckpt"
    broken.parent.mkdir(parents=True)
    broken.write_text("no checkpoint")
    assert fit(runs, epochs=4) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "last.ckpt" in error
    assert broken.read_text() == "no checkpoint"
