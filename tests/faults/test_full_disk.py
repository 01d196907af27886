"""A disk that is full, wherever the command is just then: one line, status 2, and with room it goes on.

The disk is a small tmpfs, which only root can mount; without, the tests skip.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess

import numpy as np
import pytest

import processes
from fghash.cli import main
from fghash.store.index import stored_runs
from fghash.store.upkeep import problems
from fghash.training.checkpoints import read_checkpoint
from image_folder import write_images
from stored_codes import stored_codes

pytestmark = pytest.mark.xdist_group("processes")

SIZES = 14  # of disks, from nearly nothing to nearly enough
SMALL = [
    "--data", "folder", "--data.image_size", "32", "--data.sampler", "shuffle", "--bits", "16", "--gpus", "0",
    "--backbone", "test_resnet", "--batch_size", "6", "--optim.lr", "0.01", "--trainer.max_epochs", "3",
    "--trainer.enable_progress_bar", "false", "--checkpoint_minutes", "0", "--data.num_workers", "0",
]  # fmt: skip
WAYS = {
    "plain": ["--method", "hashnet"],
    "validated": ["--method", "hashnet", "--data.validation", "0.3"],
    "learned": ["--method", "adsh", "--data.cache", "DISK/cache"],
    "cached": ["--method", "phpq", "--backbone.freeze", "all", "--data.features", "DISK/features"],
    "closed": ["--method", "itq", "--backbone.freeze", "all", "--data.features", "DISK/features"],
    "tracked": ["--method", "hashnet", "--tracking", "tensorboard"],
}


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


@contextlib.contextmanager
def disk(place, n_bytes):
    """A file system of that size."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        place.rmdir()
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S607
        place.rmdir()


def grow(place, n_bytes):
    subprocess.run(["mount", "-o", f"remount,size={n_bytes}", str(place)], check=True)  # noqa: S607


def fit(place, way, images, log):
    """Status and words of the command in a process of its own, its store and caches on the disk."""
    more = [word.replace("DISK", str(place)) for word in WAYS[way]]
    words = ["fit", *SMALL, "--data.root", str(images), "--runs", str(place / "runs"), *more]
    process = processes.start(main, words, log=log)
    process.join(300)
    return process.exitcode, log.read_text()


def assert_whole(place):
    for run in stored_runs(place / "runs") if (place / "runs").is_dir() else ():
        assert not run.skipped
        assert problems(place / "runs" / run.path) == []
    for last in place.glob("runs/*/*/*/*/checkpoints/last.ckpt"):
        assert read_checkpoint(last)["state_dict"]


def fill_up(way, images, tmp_path, sizes):
    """The command on disks of growing size: full somewhere, then enough; and full once it is finished."""
    place = tmp_path / "disk"
    with disk(place, 2**28):
        assert fit(place, way, images, tmp_path / "straight.log")[0] == 0
        straight = stored_codes(place / "runs")
        needed = 2**28 - shutil.disk_usage(place).free
    full = 0
    for share in np.linspace(0.02, 0.99, sizes):
        with disk(place, max(8192, int(needed * share))):
            status, said = fit(place, way, images, tmp_path / "full.log")
            assert status in (0, 2), said
            assert "Traceback" not in said, said
            if status == 2:
                full += 1
                errors = [line for line in said.splitlines() if line.startswith("fghash: error")]
                assert len(errors) == 1, said
                assert "space" in errors[0] or "disk is full" in errors[0] or "free" in errors[0], said
            assert_whole(place)
            grow(place, 2**28)
            status, said = fit(place, way, images, tmp_path / "again.log")
            assert status == 0, said
            found = stored_codes(place / "runs")
            assert found.keys() == straight.keys()
            assert all(np.array_equal(found[key], value) for key, value in straight.items())
            assert_whole(place)
    assert full >= sizes // 2
    return full


def test_a_full_disk_once(images, tmp_path):
    assert fill_up("plain", images, tmp_path, 2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("way", sorted(WAYS))
def test_disks_of_every_size(way, images, tmp_path):
    fill_up(way, images, tmp_path, SIZES)


def test_tables_and_reports_on_a_full_disk(images, tmp_path, capsys):
    """What was there stays."""
    place = tmp_path / "disk"
    assert fit(tmp_path, "plain", images, tmp_path / "log")[0] == 0
    with disk(place, 20_480):
        runs = ["--runs", str(tmp_path / "runs")]
        table = place / "table.csv"
        assert main(["leaderboard", *runs, "--out", str(table)]) == 0
        before = table.read_bytes()
        with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 512)
        for words in (
            ["leaderboard", *runs, "--out", str(table)],
            ["report", *runs, "--out", str(place / "page")],
        ):
            capsys.readouterr()
            assert main(words) == 2, words
            said = capsys.readouterr().err.strip()
            assert len(said.splitlines()) == 1
            assert "No space left" in said
        assert table.read_bytes() == before
        assert not list((place / "page").glob("*"))


def test_a_store_that_can_only_be_read(images, tmp_path, capsys):
    """It is shown and compared; whatever would write says so in a line before it begins."""
    place = tmp_path / "disk"
    with disk(place, 2**26):
        assert fit(place, "plain", images, tmp_path / "log")[0] == 0
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)  # noqa: S607
        runs = ["--runs", str(place / "runs")]
        (run,) = (path.parent for path in place.glob("runs/*/*/*/*/config.yaml"))
        assert main(["leaderboard", *runs, "--out", str(tmp_path / "table.csv")]) == 0
        assert main(["report", *runs, "--out", str(tmp_path / "page")]) == 0
        assert main(["runs", "list", str(place / "runs")]) == 0
        assert main(["runs", "verify", str(place / "runs")]) == 0
        capsys.readouterr()
        status, said = fit(place, "plain", images, tmp_path / "again.log")
        assert status == 2, said
        assert "Read-only file system" in said
        assert main(["evaluate", "--run", str(run), "--cutoffs", "3"]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_when_a_file_is_finished(kind, images, tmp_path, monkeypatch, capsys):
    """Without root: fsync, by which every file of the store is finished, says no."""

    def no(descriptor):
        raise OSError(kind, os.strerror(kind))

    monkeypatch.setattr(os, "fsync", no)
    words = ["fit", *SMALL, "--data.root", str(images), "--runs", str(tmp_path / "runs"), *WAYS["plain"]]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in said if line.startswith("fghash: error")]) == 1
    assert os.strerror(kind) in said[-1] or "disk is full" in said[-1]
    assert not list((tmp_path / "runs").glob("*/*/*/*/finished"))
