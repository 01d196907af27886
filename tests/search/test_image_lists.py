"""Which images a command line names."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from fghash.data.images.decoding import read_image
from fghash.errors import InputError
from fghash.search.image_lists import Columns, list_images


@pytest.fixture
def tree(tmp_path):
    for i, name in enumerate(["a/1.png", "a/2.png", "b/3.jpg", "b/.hidden.png", "b/notes.md", "c d/4.png"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".md":
            path.write_text("no image")
        else:
            Image.fromarray(np.full((8, 9, 3), 40 * i, np.uint8)).save(path)
    return tmp_path


def ids(*words, **options):
    return [source.id for source in list_images([str(word) for word in words], **options)]


def test_a_folder_is_all_images_below_it(tree):
    names = ["a/1.png", "a/2.png", "b/3.jpg", "c d/4.png"]
    assert ids(tree) == [str(tree / name) for name in names]


def test_patterns_files_and_folders_give_each_image_once_in_order(tree):
    found = ids(tree / "b" / "3.jpg", tree / "**" / "*.png", tree / "a")
    assert found == [str(tree / name) for name in ("b/3.jpg", "a/1.png", "a/2.png", "c d/4.png")]


def test_a_name_with_magic_letters_is_a_file_first(tree):
    path = tree / "x[1].png"
    Image.new("RGB", (4, 4)).save(path)
    assert ids(path) == [str(path)]


def test_a_csv_has_paths_ids_and_labels(tree):
    (tree / "list.csv").write_text(
        '\ufeffsku,image,species\nA1,a/1.png,sparrow\nA2,c d/4.png,"jay, blue"\n', "utf-8"
    )
    found = list_images([str(tree / "list.csv")], Columns(id="sku", label="species"))
    assert [(each.id, each.label) for each in found] == [("A1", "sparrow"), ("A2", "jay, blue")]
    assert [each.path for each in found] == [str(tree / "a/1.png"), str(tree / "c d/4.png")]


def test_a_txt_has_a_path_a_line(tree):
    (tree / "list.txt").write_text("a/1.png\n\nb/3.jpg\n")
    assert ids(tree / "list.txt") == [str(tree / "a/1.png"), str(tree / "b/3.jpg")]


def shard(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 7, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_a_shard_has_members_with_labels_and_gives_their_bytes(tmp_path):
    path = shard(
        tmp_path / "s.tar", {"x/0.png": png(10), "x/0.cls": b"3\n", "x/1.seg.png": png(20), "x/1.json": b"{}"}
    )
    first, second = list_images([str(path)])
    assert (first.id, first.label) == (f"{path}/x/0.png", "3")
    assert (second.id, second.label) == (f"{path}/x/1.seg.png", "")
    assert read_image(first.open())[0, 0, 0] == 10
    assert read_image(second.open()).shape == (6, 7, 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: [root / "nothing.png"], "there is no"),
        (lambda root: [root / "*.gif"], "nothing matches"),
        (lambda root: [(root / "empty").mkdir() or root / "empty"], "none below"),
        (
            lambda root: [(root / "l.csv").write_text("a,b\n1,2\n") and root / "l.csv"],
            "no column path, image",
        ),
        (
            lambda root: [(root / "l.csv").write_text("path,b\n") and root / "l.csv"],
            "none, expected at least one",
        ),
        (
            lambda root: [(root / "l.csv").write_text("b,path\n1\n") and root / "l.csv"],
            "line 2 has 1 of 2 columns",
        ),
        (lambda root: [(root / "l.txt").write_text("a/1.png\na/9.png\nz\n") and root / "l.txt"], "2 of"),
        (lambda root: [(root / "s.tar").write_bytes(b"no tar") and root / "s.tar"], "cannot read"),
        (lambda root: [(root / "s.tar.gz").write_bytes(b"") or root / "s.tar.gz"], "compressed"),
        (lambda root: [shard(root / "t.tar", {"a.txt": b"x"})], "no image in"),
    ],
)
def test_refusals(tree, make, said):
    with pytest.raises(InputError, match=said):
        ids(*make(tree))


def test_one_id_for_two_images_is_refused(tree):
    (tree / "l.csv").write_text("path,id\na/1.png,same\na/2.png,same\n")
    with pytest.raises(InputError, match="two have the id 'same'"):
        list_images([str(tree / "l.csv")], Columns(id="id"))


def test_missing_files_of_a_list_are_kept_with_their_problem_where_that_is_wanted(tree):
    (tree / "l.txt").write_text("a/1.png\na/9.png\n")
    first, second = list_images([str(tree / "l.txt")], tolerate_missing=True)
    assert not first.problem
    assert "a/9.png" in second.problem
    with pytest.raises(InputError, match=r"a/9.png"):
        second.open()
    with pytest.raises(InputError, match="--skip_unreadable"):
        list_images([str(tree / "l.txt")])
