"""Trees of one's own images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fghash.data.sets.folder import read_folder
from fghash.errors import InputError


def test_classes_are_folders(tree: Path):
    splits = read_folder(tree)
    assert splits.class_names == ("ash", "beech", "cedar")
    assert splits.train.names[0] == "train/ash/0.png"
    assert splits.query.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert splits.gallery_is_train
    assert splits.description == "3 classes, 24 train / 9 query"


def test_test_is_accepted_for_query(tree: Path):
    (tree / "query").rename(tree / "test")
    assert read_folder(tree).query.names[0] == "test/ash/0.png"


def test_a_gallery_of_its_own(tree: Path, image):
    image(tree / "gallery" / "ash" / "a.jpg")
    image(tree / "gallery" / "beech" / "b.jpg")
    image(tree / "gallery" / "cedar" / "c.jpg")
    splits = read_folder(tree)
    assert splits.gallery.labels.tolist() == [0, 1, 2]
    assert not splits.gallery_is_train


def test_files_that_are_no_images_by_name_are_ignored(tree: Path):
    (tree / "train" / "ash" / "Thumbs.db").write_bytes(b"x")
    (tree / "train" / ".cache").mkdir()
    assert len(read_folder(tree).train) == 24


def test_an_empty_class_is_named(tree: Path):
    (tree / "train" / "ghost").mkdir()
    with pytest.raises(InputError, match=r"class folder .*ghost has no images"):
        read_folder(tree)


@pytest.mark.parametrize("split", ["train", "query"])
def test_a_missing_split_is_named(tree: Path, split: str):
    shutil.rmtree(tree / split)
    with pytest.raises(InputError, match=f"--data.root: .* has no {split}"):
        read_folder(tree)


def test_a_split_without_classes(tree: Path):
    shutil.rmtree(tree / "train")
    (tree / "train").mkdir()
    with pytest.raises(InputError, match="has no class folders"):
        read_folder(tree)


def test_a_query_class_that_cannot_be_found(tree: Path):
    (tree / "query" / "cedar").rename(tree / "query" / "ceder")
    with pytest.raises(InputError, match=r"query class 'ceder' .* is not in train"):
        read_folder(tree)
