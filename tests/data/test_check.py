"""Looking at every file before a training does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fghash.data.check import check
from fghash.data.csv import read_csv
from fghash.data.folder import read_folder
from fghash.data.lists import read_lists
from fghash.data.synthetic import draw_splits
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


def test_drawn_data_have_no_files():
    with pytest.raises(InputError, match="only data sets of image files"):
        check(draw_splits(1, 1, 2, 1, 16, 0))
