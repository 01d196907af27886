"""The official folder of CUB-200-2011, whole, in part and broken."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from fghash.data.sets.cub200 import read_cub200
from fghash.errors import InputError


def test_official_split(cub: Path):
    splits = read_cub200(cub)
    assert splits.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert splits.query.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert splits.gallery is splits.train
    assert splits.class_names == ("001.Bird_1", "002.Bird_2", "003.Bird_3")
    assert splits.query.names[0] == "images/001.Bird_1/001.Bird_1_2.jpg"
    assert splits.query.read(0).shape == (30, 40, 3)
    assert splits.description == "3 of 200 classes, 6 train / 6 query"


def test_labels_of_folders_equal_the_list(cub: Path):
    with_list = read_cub200(cub)
    (cub / "image_class_labels.txt").unlink()
    assert read_cub200(cub).fingerprint == with_list.fingerprint
    assert read_cub200(cub).class_names == with_list.class_names


def test_ids_that_images_lacks_are_ignored(cub: Path):
    with (cub / "train_test_split.txt").open("a") as file:
        file.write("900 1\n901 0\n")
    assert len(read_cub200(cub).train) == 6


def test_a_subset_may_keep_the_full_list_of_classes(cub: Path):
    lines = (cub / "images.txt").read_text().splitlines()
    (cub / "images.txt").write_text("\n".join(line for line in lines if "002." not in line) + "\n")
    shutil.rmtree(cub / "images" / "002.Bird_2")
    splits = read_cub200(cub)
    assert splits.class_names == ("001.Bird_1", "003.Bird_3")
    assert splits.train.labels.tolist() == [0, 0, 1, 1]


def test_fingerprint_does_not_depend_on_the_root(cub: Path, tmp_path: Path):
    shutil.copytree(cub, tmp_path / "elsewhere")
    assert read_cub200(tmp_path / "elsewhere").fingerprint == read_cub200(cub).fingerprint


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["images.txt", "train_test_split.txt", "images"])
def test_what_is_missing_is_named(cub: Path, name: str):
    (cub / name).rename(cub / "hidden")
    with pytest.raises(InputError, match=f"--data.root: .* has no {name}"):
        read_cub200(cub)


def test_no_such_root(tmp_path: Path):
    with pytest.raises(InputError, match=r"--data\.root: no such folder .*nowhere"):
        read_cub200(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"--data\.root.*got none"):
        read_cub200(None)


@pytest.mark.parametrize(
    ("file", "number", "line", "message"),
    [
        ("images.txt", 3, "2 001.Bird_1/001.Bird_1_2.jpg", r"images\.txt line 3: id 2 twice"),
        ("images.txt", 3, "3 001.Bird_1/001.Bird_1_1.jpg", r"images\.txt: .*_1\.jpg twice"),
        ("images.txt", 3, "3 001.Bird_1/gone.jpg", r"names 001\.Bird_1/gone\.jpg, which is not in"),
        ("images.txt", 3, "3", r"images\.txt line 3: expected two columns"),
        ("train_test_split.txt", 3, "2 1", r"train_test_split\.txt line 3: id 2 twice"),
        ("train_test_split.txt", 3, "700 1", r"train_test_split\.txt: id 3 of images\.txt is missing"),
        ("train_test_split.txt", 3, "3 2", r"id 3: expected a whole number from 0 to 1, got 2"),
        ("image_class_labels.txt", 3, "3 4", r"id 3: expected a whole number from 1 to 3, got 4"),
        ("image_class_labels.txt", 3, "3 0", r"id 3: expected a whole number from 1 to 3, got 0"),
        ("image_class_labels.txt", 3, "3 x", r"id 3: expected a whole number from 1 to 3, got 'x'"),
    ],
)
def test_a_broken_list_is_one_clear_line(cub: Path, file: str, number: int, line: str, message: str):
    replace_line(cub / file, number, line)
    with pytest.raises(InputError, match=message) as caught:
        read_cub200(cub)
    assert "\n" not in str(caught.value)


def test_an_empty_class_is_named(cub: Path):
    (cub / "images" / "004.Ghost").mkdir()
    with pytest.raises(InputError, match=r"class folder .*004\.Ghost has no images"):
        read_cub200(cub)


def shared(name: str) -> Path:
    default = Path(__file__).parents[4] / "shared"
    return Path(os.environ.get("FGHASH_SHARED", default)) / "data" / name


@pytest.mark.skipif(not shared("cub50.zip").exists(), reason="no real images here")
def test_the_first_fifty_classes(tmp_path: Path):
    with zipfile.ZipFile(shared("cub50.zip")) as archive:
        for name in archive.namelist():  # the reader looks at lists and names, not at pixels
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True, parents=True)
            if name.endswith(".txt"):
                file.write_bytes(archive.read(name))
            elif name.endswith(".jpg"):
                file.touch()
    splits = read_cub200(tmp_path / "cub50")
    assert splits.description == "50 of 200 classes, 1,500 train / 1,389 query"
    assert splits.fingerprint == "1500-1500-1389-09a0c369252e"
