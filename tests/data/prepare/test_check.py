"""Looking at every file before a training does."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from fghash.data.prepare.check import check
from fghash.data.sets.csv import read_csv
from fghash.data.sets.folder import read_folder
from fghash.data.sets.lists import read_lists
from fghash.data.sets.synthetic import draw_splits
from fghash.errors import InputError


def test_a_good_folder(tree: Path):
    report = check(read_folder(tree), n_threads=2)
    assert report.good
    lines = list(report.lines())
    assert lines[0] == "3 classes, 24 train / 9 query"
    assert "training images of a class: 8 to 8" in lines
    assert f"fingerprint: {read_folder(tree).fingerprint}" in lines


@pytest.fixture
def bad(tree: Path) -> Path:
    """A tree with two unreadable files and a query that is also in the gallery."""
    (tree / "train" / "ash" / "2.png").write_text("no image")
    path = tree / "query" / "beech" / "0.png"
    path.write_bytes(path.read_bytes()[:-200])
    shutil.copy(tree / "train" / "cedar" / "4.png", tree / "query" / "cedar" / "1.png")
    return tree


def test_bad_files_and_shared_ones_are_listed(bad: Path):
    report = check(read_folder(bad))
    assert [name for name, _ in report.unreadable] == ["train/ash/2.png", "query/beech/0.png"]
    assert report.unreadable[0][1] == "not an image"
    assert report.shared == (("query/cedar/1.png", "train/cedar/4.png"),)
    assert not report.good
    text = "\n".join(report.lines())
    assert "  train/ash/2.png: not an image" in text
    assert "  query/cedar/1.png = train/cedar/4.png" in text


def test_the_fixed_list_is_a_data_set(bad: Path, tmp_path: Path):
    assert check(read_folder(bad)).write_list(tmp_path / "fixed.csv") == 3
    fixed = read_csv(bad, str(tmp_path / "fixed.csv"))
    assert (len(fixed.train), len(fixed.query)) == (23, 7)
    assert fixed.class_names == ("ash", "beech", "cedar")
    assert check(fixed).good


def test_the_fixed_list_of_several_labels(tmp_path: Path, image):
    for k in range(3):
        image(tmp_path / f"{k}.jpg", 50 * k)
    (tmp_path / "train.txt").write_text("0.jpg 0 1 1\n1.jpg 1 0 0\n")
    (tmp_path / "test.txt").write_text("2.jpg 0 0 1\n")
    splits = read_lists(tmp_path)
    report = check(splits)
    assert report.write_list(tmp_path / "fixed.csv") == 0
    assert read_csv(tmp_path, "fixed.csv").train.labels.tolist() == splits.train.labels.tolist()


def test_drawn_data_are_looked_at_but_no_list(tmp_path: Path):
    report = check(draw_splits(1, 2, 3, 1, 16, 0))
    assert report.good
    with pytest.raises(InputError, match="--fix-list: this data set's images are no files"):
        report.write_list(tmp_path / "fixed.csv")
    assert not list(tmp_path.iterdir())


def test_empty_files_are_not_one_picture(tree: Path):
    for path in (tree / "train" / "ash" / "2.png", tree / "query" / "ash" / "0.png"):
        path.write_bytes(b"")
    report = check(read_folder(tree))
    assert len(report.unreadable) == 2
    assert not report.shared


@pytest.mark.parametrize("name", ["ash;beech", " ash"])
def test_a_class_that_a_table_cannot_hold(tree: Path, tmp_path: Path, name: str):
    for split in ("train", "query"):
        (tree / split / "ash").rename(tree / split / name)
    with pytest.raises(InputError, match=f"--fix-list: a table cannot hold the class name '{name}'"):
        check(read_folder(tree)).write_list(tmp_path / "fixed.csv")


def test_a_list_is_written_whole_or_not_at_all(tree: Path, tmp_path: Path, monkeypatch):
    report = check(read_folder(tree))
    (tmp_path / "fixed.csv").write_text("before")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(InputError, match=r"--fix-list: cannot write '.*fixed\.csv' \(No space left"):
            report.write_list(tmp_path / "fixed.csv")
    assert (tmp_path / "fixed.csv").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "fixed.csv"}
    with pytest.raises(InputError, match="--fix-list: cannot write"):
        report.write_list(tmp_path / "nowhere" / "fixed.csv")
