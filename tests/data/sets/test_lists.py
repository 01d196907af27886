"""Lists and tables of one's own: one label or several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fghash.data.sets.csv import Csv, read_csv
from fghash.data.sets.lists import Lists, read_lists
from fghash.errors import InputError


@pytest.fixture
def write(tmp_path: Path, image):
    for k in range(4):
        image(tmp_path / f"{k}.jpg", 40 * k)

    def lists(*texts: str) -> Path:
        for name, text in zip(("train.txt", "test.txt", "database.txt"), texts, strict=False):
            (tmp_path / name).write_text(text)
        return tmp_path

    return lists


def test_one_label_a_line(write):
    splits = read_lists(write("0.jpg 2\n1.jpg 0\n", "2.jpg 2\n"))
    assert splits.train.labels.tolist() == [2, 0]
    assert splits.gallery_is_train
    assert splits.class_names == ("class_0", "class_1", "class_2")


def test_vectors_of_0_and_1(write):
    splits = read_lists(write("0.jpg 0 1 1\n1.jpg 1 0 0\n", "2.jpg 0 0 1\n"))
    assert splits.train.labels.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert splits.query.labels.tolist() == [[0, 0, 1]]


def test_several_labels_a_line(write):
    splits = read_lists(write("0.jpg 3 1\n1.jpg 0\n", "2.jpg 1\n"))
    assert splits.train.labels.tolist() == [[0, 1, 0, 1], [1, 0, 0, 0]]
    assert splits.query.labels.tolist() == [[0, 1, 0, 0]]


def test_what_could_be_both_is_said(write):
    root = write("0.jpg 0 1\n1.jpg 1 0\n", "2.jpg 0 1\n")
    assert read_lists(root).train.labels.tolist() == [[0, 1], [1, 0]]
    assert read_lists(root, labels="several").train.labels.tolist() == [[1, 1], [1, 1]]


def test_a_gallery_that_contains_the_training_images(write):
    root = write("0.jpg 0\n1.jpg 1\n", "2.jpg 1\n", "0.jpg 0\n1.jpg 1\n3.jpg 1\n")
    splits = read_lists(root)
    assert len(splits.gallery) == 3
    assert not splits.gallery_is_train


def test_a_gallery_that_is_asked_for_must_exist(write):
    root = write("0.jpg 0\n", "2.jpg 0\n")
    with pytest.raises(InputError, match=r"has no data_base\.txt"):
        read_lists(root, gallery="data_base.txt")


def test_multi_hot_batches(write):
    root = write("0.jpg 0 1 1\n1.jpg 1 0 0\n", "2.jpg 0 0 1\n")
    module = Lists(root=str(root), image_size=16, batch_size=2, num_workers=0, cache="ram")
    module.setup()
    (batch,) = module.train_dataloader()
    assert batch.labels.shape == (2, 3)
    assert (batch.labels.numpy() == module.train_labels[batch.index.numpy()]).all()


@pytest.mark.parametrize(
    ("train", "labels", "message"),
    [
        ("0.jpg 1 0\n1.jpg 1\n", "one", r"0\.jpg: expected one label, got 2"),
        ("0.jpg 1 0\n1.jpg 1\n", "vector", r"1\.jpg: expected 2 columns of 0 and 1"),
        ("0.jpg 1 0\n1.jpg 2 0\n", "vector", r"1\.jpg: expected 2 columns of 0 and 1"),
        ("", "auto", r"train\.txt: the list is empty"),
    ],
)
def test_labels_of_another_kind(write, train: str, labels, message: str):
    with pytest.raises(InputError, match=message):
        read_lists(write(train, "2.jpg 0\n"), labels=labels)


def test_unknown_kind_of_labels():
    with pytest.raises(InputError, match=r"--data\.labels: must be auto, one, several or vector, got 'many'"):
        Lists(labels="many")


def table(root: Path, text: str) -> Path:
    (root / "index.csv").write_text(text)
    return root


def test_a_table(write, tmp_path: Path):
    write()
    root = table(tmp_path, "path,label,split\n0.jpg,robin,train\n1.jpg,finch,train\n2.jpg,robin,test\n")
    splits = read_csv(root)
    assert splits.class_names == ("finch", "robin")
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.query.labels.tolist() == [1]


def test_numbers_are_ordered_by_value_and_columns_have_any_name(write, tmp_path: Path):
    write()
    root = table(tmp_path, "file,other,y,part\n0.jpg,,10,train\n1.jpg,,9,database\n2.jpg,,10,query\n")
    module = Csv(root=str(root), path_column="file", label_column="y", split_column="part")
    splits = module.read()
    assert splits.class_names == ("9", "10")
    assert (splits.train.labels.tolist(), splits.gallery.labels.tolist()) == ([1], [0])


def test_several_labels_in_a_table(write, tmp_path: Path):
    write()
    splits = read_csv(table(tmp_path, "path,label,split\n0.jpg,a;b,train\n1.jpg,c,train\n2.jpg,b,query\n"))
    assert np.array_equal(splits.train.labels, [[1, 1, 0], [0, 0, 1]])
    assert np.array_equal(splits.query.labels, [[0, 1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n0.jpg,a\n", "no column 'split'"),
        ("path,label,split\n0.jpg,a,train\n", "no image of split query"),
        ("path,label,split\n0.jpg,a,val\n", r"line 2: split must be train, query or gallery, got 'val'"),
        ("path,label,split\n0.jpg,,train\n", "line 2: expected a path and a label"),
        ("path,label,split\n0.jpg,a,train\n0.jpg,a,train\n2.jpg,a,query\n", r"0\.jpg twice"),
        ("path,label,split\n9.jpg,a,train\n2.jpg,a,query\n", r"names 9\.jpg, which is not in"),
    ],
)
def test_broken_tables(write, tmp_path: Path, text: str, message: str):
    write()
    with pytest.raises(InputError, match=message):
        read_csv(table(tmp_path, text))
