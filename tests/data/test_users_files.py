"""What people's own folders, tables and lists hold: the right splits come of it, or one clear line."""

import io
import os
import re
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from fghash.cli import main
from fghash.data.entries import DataWarning
from fghash.data.images.decoding import read_image
from fghash.data.prepare.check import check
from fghash.data.sets.csv import read_csv
from fghash.data.sets.folder import Folder, read_folder
from fghash.data.sets.lists import read_lists
from fghash.errors import InputError


def image(k, size=24):
    random = np.random.default_rng(k)
    return Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture
def tree(tmp_path):
    """Two classes, three images each to train on, one to query with."""
    k = 0
    for split, count in (("train", 3), ("query", 1)):
        for name in ("ash", "beech"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image(k).save(folder / f"{i}.png")
                k += 1
    return tmp_path


def counts(splits):
    return len(splits.train), len(splits.query)


def said(function, *args):
    """What the function gives, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args)
    return result, [str(each.message) for each in caught if issubclass(each.category, DataWarning)]


# -- folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".avif", ".jfif", ".jpe", ".jp2", ".tga", ".ico", ".dib", ".JPG", ".webp", ""]
)
def test_everything_that_pillow_opens_counts(tree, suffix):
    data = io.BytesIO()
    kinds = {".JPG": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", "": "PNG", ".jp2": "JPEG2000"}
    image(99).save(data, kinds.get(suffix, suffix[1:].upper()))
    (tree / "train" / "ash" / f"more{suffix}").write_bytes(data.getvalue())
    splits, lines = said(read_folder, tree)
    assert counts(splits) == (7, 2)
    assert not lines
    assert splits.train.read(3).shape[2] == 3


def test_what_is_skipped_is_counted_and_said_once(tree):
    for name in ("a.svg", "b.svg", "c.npy", "notes"):
        (tree / "train" / "ash" / name).write_text("x")
    (tree / "query" / "beech" / "gone.png").symlink_to(tree / "nowhere.png")
    splits, lines = said(read_folder, tree)
    assert counts(splits) == (6, 2)
    (line,) = lines
    assert "skipped 5 files that Pillow cannot open: .svg 2, .npy 1" in line
    assert "links to nothing 1" in line


@pytest.mark.parametrize("name", ["._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_files_of_the_system_are_left_out(tree, name):
    (tree / "train" / "ash" / name).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    splits, lines = said(read_folder, tree)
    assert counts(splits) == (6, 2)
    assert len(lines) == 1
    assert "1 hidden or system entry" in lines[0]


@pytest.mark.parametrize("name", ["__MACOSX", ".ipynb_checkpoints", ".git"])
def test_folders_of_the_system_are_no_classes(tree, name):
    (tree / "train" / name).mkdir()
    image(50).save(tree / "train" / name / "0.png")
    splits, lines = said(read_folder, tree)
    assert splits.class_names == ("ash", "beech")
    assert len(lines) == 1


def test_a_class_without_images_is_one_line(tree):
    (tree / "train" / "cedar").mkdir()
    (tree / "train" / "cedar" / "a.svg").write_text("x")
    with pytest.raises(InputError, match=r"class folder .*cedar has no images \(skipped: \.svg\)"):
        read_folder(tree)


@pytest.mark.parametrize("raw", [b"caf\xe9.png", b"line\nbreak.png", b"esc\x1b[2J.png"])
def test_any_name_of_a_file_works(tree, raw, capsys):
    folder = tree / "train" / "ash"
    (folder / "0.png").rename(folder / os.fsdecode(raw))
    assert main(["data", "check", "folder", "--root", str(tree)]) == 0
    assert "2 classes, 6 train / 2 query" in capsys.readouterr().out
    words = ["fit", "--method", "hashnet", "--data", "folder", "--data.root", str(tree), "--gpus", "0"]
    small = ["--data.image_size", "32", "--trainer.max_epochs", "1", "--runs", str(tree / "runs")]
    assert main([*words, *small, "--trainer.enable_progress_bar", "false"]) == 0
    assert main(["leaderboard", "--runs", str(tree / "runs"), "--out", str(tree / "l.csv")]) == 0
    assert f"folder:{tree.name}" in (tree / "l.csv").read_text()


def test_a_class_whose_name_is_no_utf8_works(tree, capsys):
    for split in ("train", "query"):
        (tree / split / "ash").rename(tree / split / os.fsdecode(b"caf\xe9"))
    assert main(["data", "check", "folder", "--root", str(tree), "--fix-list", str(tree / "fixed.csv")]) == 0
    assert b"caf\xe9" in (tree / "fixed.csv").read_bytes()


def orientation_as_text():
    tiff = b"II*\0" + (8).to_bytes(4, "little") + (1).to_bytes(2, "little")
    return b"Exif\0\0" + tiff + b"\x12\1\2\0\2\0\0\0" + b"6\0\0\0" + bytes(4)


@pytest.mark.parametrize(
    "exif", [orientation_as_text(), b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_metadata_hides_no_image(tree, exif):
    path = tree / "train" / "ash" / "odd.jpg"
    image(70).save(path, exif=exif)
    assert read_image(path).shape == (24, 24, 3)
    report = check(read_folder(tree))
    assert report.good
    assert (report.damaged != ()) == (exif == orientation_as_text())


def truncated(path):
    data = io.BytesIO()
    image(71, 64).save(data, "JPEG", quality=95)
    path.write_bytes(data.getvalue()[:-700])


def test_an_incomplete_image_is_refused_unless_tolerated_and_counted(tree):
    path = tree / "train" / "ash" / "odd.jpg"
    truncated(path)
    with pytest.raises(InputError, match=r"cannot read image .*odd\.jpg: .*truncated"):
        read_image(path)
    assert read_image(path, tolerate_truncated=True).shape == (64, 64, 3)
    data = Folder(root=str(tree), image_size=16, batch_size=2, num_workers=0, tolerate_truncated=True)
    data.setup()
    assert data.truncated_images == 1
    assert sum(len(batch.labels) for batch in data.gallery_dataloader()) == 7
    strict = Folder(root=str(tree), image_size=16, batch_size=2, num_workers=0)
    strict.setup()
    assert strict.truncated_images == 0
    with pytest.raises(InputError, match="truncated"):
        list(strict.gallery_dataloader())


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_query_that_is_trained_on_is_refused_under_any_name(tree, link):
    link(tree / "train" / "ash" / "0.png", tree / "query" / "ash" / "again.png")
    data = Folder(root=str(tree), image_size=16)
    with pytest.raises(InputError, match=r"query query/ash/again\.png is the same file as train/ash/0\.png"):
        data.setup()


def test_a_query_with_the_content_of_a_gallery_image_is_counted(tree):
    (tree / "query" / "ash" / "copy.png").write_bytes((tree / "train" / "beech" / "1.png").read_bytes())
    data = Folder(root=str(tree), image_size=16)
    _, lines = said(data.setup)
    assert data.queries_in_gallery == 1
    assert "1 of 3 queries have the same content" in lines[0]
    assert "query/ash/copy.png" in lines[0]


# -- tables --------------------------------------------------------------------------------------------------


def table(root, text, n=9):
    (root / "img").mkdir(exist_ok=True)
    for i in range(n):
        image(i).save(root / "img" / f"{i}.png")
    (root / "index.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def rows(
    sep=",", header="path,label,split", label="abc".__getitem__, split=("train", "query"), path="img/{}.png"
):
    lines = [header.replace(",", sep)]
    lines += [sep.join([path.format(i), label(i % 3), split[i >= 6]]) for i in range(9)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        rows(), rows("\t"), rows(";"), rows("|"), rows(", "), rows().encode("utf-16"), "\ufeff" + rows(),
        rows(header="Path,Label,Split"), rows(header=" PATH , label,SPLIT "), rows(split=("Train", "TEST")),
        rows(split=("training", "queries")), rows().replace("\n", "\r\n"), rows() + "\n\n",
        rows(path="img\\{}.png"),
        rows(path='"img/{}.png"'), rows(header="path,label,split,more").replace("train", "train,x"),
    ],
)  # fmt: skip
def test_tables_of_spreadsheets_are_read(tmp_path, text):
    splits = read_csv(table(tmp_path, text))
    assert counts(splits) == (6, 3)
    assert splits.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rows(header="path,label,split,label").replace("train", "train,z"), "column 'label' 2 times"),
        (rows(header="path,Label,split,LABEL").replace("train", "train,z"), "column 'label' 2 times"),
        (rows(header="file,label,split"), r"no column 'path' \(it has file, label, split\)"),
        (rows(split=("val", "query")), "got 'val'; a validation part comes from --data.validation"),
        (rows() + '"img/1.png,' + "x" * 200_000 + "\n", r"index\.csv line 11: field larger than"),
        (rows() + '"img/1.png,a,train\n', r"index\.csv line 11: unexpected end of data"),
        (rows() + "img/1.png," + "7" * 5000 + ",train\n", "line 11: a label of 5,000 characters"),
        (rows() + "img/a,b.png,a,train\n", "line 11: 4 fields, expected 3"),
        (rows() + "img/10.png,a,train\n", r"names img/10\.png, which is not in .*, did you mean '[01]\.png'"),
        (rows() + "./img/0.png,a,query\n", r"query \./img/0\.png is the same file as img/0\.png"),
        (rows() + "img/../img/0.png,a,train\n", "is the same file as .*, both in train"),
        (b"\xff\xfeq", "not text in UTF-16"), (b"caf\xe9,\n", "not text in UTF-8"),
        (b"", "empty, expected a header"),
    ],
)  # fmt: skip
def test_other_tables_are_one_clear_line(tmp_path, text, message, capsys):
    table(tmp_path, text)
    assert main(["data", "check", "csv", "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error


def test_labels_are_equal_if_their_text_is(tmp_path):
    names = ("1", "01", " 1.0")
    splits, lines = said(read_csv, table(tmp_path, rows(label=names.__getitem__)))
    assert splits.class_names == ("01", "1", "1.0")
    (line,) = lines
    assert "'01' and '1' and '1.0'" in line


def test_composed_and_decomposed_letters_find_each_other(tmp_path):
    table(tmp_path, rows())
    (tmp_path / "img" / "0.png").rename(tmp_path / "img" / unicodedata.normalize("NFD", "caf\u00e9.png"))
    text = rows().replace("img/0.png", unicodedata.normalize("NFC", "img/caf\u00e9.png"))
    (tmp_path / "index.csv").write_text(text)
    assert counts(read_csv(tmp_path)) == (6, 3)


# -- lists ---------------------------------------------------------------------------------------------------


def lists(root, line):
    table(root, "")
    (root / "train.txt").write_text("".join(line(i) + "\n" for i in range(6)))
    (root / "test.txt").write_text("".join(line(i) + "\n" for i in range(6, 9)))
    return root


VECTOR = ["1 0 0", "0 1 0", "0 0 1"]


@pytest.mark.parametrize(
    "line",
    [
        lambda i: f"img/{i}.png {VECTOR[i % 3]}",
        lambda i: f"img/{i}.png,{VECTOR[i % 3].replace(' ', ',')}",
        lambda i: f"img/{i}.png, {VECTOR[i % 3].replace(' ', ', ')}",
        lambda i: f"img/{i}.png {VECTOR[i % 3].replace('0', '-1')}",
        lambda i: f"img/{i}.png " + " ".join(f"{each}.0" for each in VECTOR[i % 3].split()),
        lambda i: f"img\\{i}.png\t{VECTOR[i % 3]}",
        lambda i: ("# a comment\n" if i == 0 else "") + f"img/{i}.png {VECTOR[i % 3]}",
    ],
)
def test_lists_of_vectors_are_read(tmp_path, line):
    splits = read_lists(lists(tmp_path, line))
    assert counts(splits) == (6, 3)
    assert splits.query.labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_path_may_hold_spaces(tmp_path):
    lists(tmp_path, lambda i: f"img/my image {i}.png {i % 3}")
    for i in range(9):
        (tmp_path / "img" / f"{i}.png").rename(tmp_path / "img" / f"my image {i}.png")
    splits = read_lists(tmp_path)
    assert splits.query.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (lambda i: f"img/{i}.png", "expected a path and labels"),
        (lambda i: f"img/{i}.png one", "expected a whole number from 0 to 99999, got 'one'"),
        (lambda i: f"img/{i}.png {'9' * 5000}", "expected a whole number from 0 to 99999"),
        (lambda i: f"img/{i}.png -1 0 2", "-1 beside other numbers"),
        (lambda i: f"img/{i}.jpg 0", r"names img/0\.jpg, which is not in .*, did you mean '0\.png'"),
    ],
)
def test_other_lists_are_one_clear_line(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_lists(lists(tmp_path, line))


def test_equal_sizes_are_hashed_once(tree, monkeypatch):
    """Three gallery images and three queries of one size: six files are read, not one more."""
    from fghash.data import overlap

    for k, path in enumerate(sorted(tree.glob("*/*/*.png"))):
        path.write_bytes(bytes([k]) * 100)
    read = []
    digest = overlap._digest
    monkeypatch.setattr(overlap, "_digest", lambda path: read.append(path) or digest(path))
    assert overlap.queries_in_gallery(read_folder(tree)) == 0
    assert len(read) == len(set(read)) == 8


def test_official_lists_are_taken_at_their_word(tmp_path):
    """Readers of official folders open the listed names: another spelling is not the listed file."""
    from fghash.data.layout import check_files, found_files

    table(tmp_path, "")
    assert found_files(tmp_path, ["img\\0.png"], "list") == ["img/0.png"]
    with pytest.raises(InputError, match=r"list: names img\\0\.png, which is not in"):
        check_files(tmp_path, ["img\\0.png"], "list")
    check_files(tmp_path, ["img/0.png"], "list")
