"""Every official layout, in miniature and, from the official lists, in full size."""

from __future__ import annotations

import importlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as torchvision
from scipy.io import loadmat, savemat

from data.miniatures import LAYOUTS, Rows, aircraft, cars, cub200, dogs, vegfru, write_images
from fghash.data.items import Splits
from fghash.data.sets.vegfru import Vegfru, read_vegfru
from fghash.errors import InputError
from fghash.registry import DATASETS


@pytest.fixture(params=sorted(LAYOUTS))
def miniature(request, tmp_path: Path) -> tuple[str, Path, Rows]:
    """A data set's name, its root there and what is in it."""
    build, images = LAYOUTS[request.param]
    listed = build(tmp_path)
    write_images(tmp_path / images, listed)
    root = tmp_path / "stanford_cars" if request.param == "cars" else tmp_path
    return request.param, root, listed


def load(name: str, root: Path, **settings):
    module = DATASETS[name].load()(root=str(root), image_size=16, batch_size=3, num_workers=0, **settings)
    module.setup()
    return module


def found(splits: Splits) -> Rows:
    return {
        split: [(name, int(label)) for name, label in zip(items.names, items.labels, strict=True)]
        for split, items in (("train", splits.train), ("query", splits.query))
    }


def test_the_registry_is_the_test_plan():
    assert set(LAYOUTS) | {"synthetic", "cifar10", "features"} == set(DATASETS)


def test_splits_are_those_of_the_lists(miniature):
    name, root, listed = miniature
    splits = load(name, root).read()
    assert {key: sorted(part) for key, part in found(splits).items()} == {
        key: sorted(part) for key, part in listed.items()
    }
    assert splits.gallery_is_train
    assert len(splits.class_names) == len(set(splits.class_names)) == 3


def test_every_data_set_loads_batches(miniature):
    name, root, _ = miniature
    module = load(name, root)
    batch = next(iter(module.train_dataloader()))
    assert batch.images.shape == (3, 3, 16, 16)
    assert sum(len(one.index) for one in module.query_dataloader()) == len(module.query_items)


def test_subsets_are_named(miniature):
    name, root, _ = miniature
    if DATASETS[name].year:
        assert load(name, root).description.startswith("3 of ")


def test_a_missing_image_is_named(miniature):
    name, root, _ = miniature
    if name != "folder":
        splits = load(name, root).read()
        (splits.train.source.root / splits.train.names[1]).unlink()
        with pytest.raises(InputError, match=Path(splits.train.names[1]).name) as caught:
            load(name, root)
        assert "\n" not in str(caught.value)


def test_a_missing_root_and_an_empty_one_are_named(miniature, tmp_path: Path):
    name, _, _ = miniature
    with pytest.raises(InputError, match=r"--data\.root: no such folder"):
        load(name, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty|no such file"):
        load(name, tmp_path / "empty")


TORCHVISION = {
    "aircraft": lambda root, split: torchvision.FGVCAircraft(root, split, "variant"),
    "cars": lambda root, split: torchvision.StanfordCars(root.parent, split),
    "flowers102": lambda root, split: torchvision.Flowers102(root, split),
    "food101": lambda root, split: torchvision.Food101(root, split),
    "pets": lambda root, split: torchvision.OxfordIIITPet(root, split, "category"),
}
TRAINVAL = {"aircraft": ["trainval"], "cars": ["train"], "flowers102": ["train", "val"], "food101": ["train"]}


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_torchvision_reads_the_same(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torchvision.Flowers102, "_check_integrity", lambda _: True)  # of the full archive
    build, images = LAYOUTS[name]
    write_images(tmp_path / images, build(tmp_path))
    root = tmp_path / "stanford_cars" if name == "cars" else tmp_path
    module = load(name, root)
    for items, splits in (
        (module.train_items, TRAINVAL.get(name, ["trainval"])),
        (module.query_items, ["test"]),
    ):
        theirs = [pair for split in splits for pair in TORCHVISION[name](root, split)]
        pixels = sorted((np.asarray(image).tobytes(), label) for image, label in theirs)
        ours = sorted((items.read(k).tobytes(), int(items.labels[k])) for k in range(len(items)))
        assert ours == pixels


def test_vegfru_has_a_second_protocol(tmp_path: Path):
    write_images(tmp_path, vegfru(tmp_path))
    assert len(read_vegfru(tmp_path, "train").train) == 9
    assert len(read_vegfru(tmp_path, "trainval").train) == 11
    assert read_vegfru(tmp_path).class_names == ("veg_0", "veg_1", "fru_0")
    with pytest.raises(InputError, match=r"--data\.protocol: must be train or trainval, got 'test'"):
        Vegfru(protocol="test")


AIRCRAFT_TEST = "fgvc-aircraft-2013b/data/images_variant_test.txt"
NABIRDS_ID = "00000000-60f1-4ac7-99e5-e3eef11b8f8e"


def break_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "file", "line", "message"),
    [
        ("aircraft", AIRCRAFT_TEST, "0000004 B-52", r"variant 'B-52' is not in"),
        ("aircraft", AIRCRAFT_TEST, "0000005 F/A-000 mark 0", "0000005 twice"),
        ("food101", "food-101/meta/train.txt", "dish_0", r"train\.txt line 1: expected class/id"),
        ("food101", "food-101/meta/train.txt", "dish_0/2", r"dish_0/2\.jpg twice"),
        ("pets", "oxford-iiit-pet/annotations/test.txt", "Great_Breed_0_3 38 1 1", "from 1 to 37, got 38"),
        ("pets", "oxford-iiit-pet/annotations/test.txt", "Great_Breed_0_3", "expected image and class"),
        ("nabirds", "image_class_labels.txt", f"{NABIRDS_ID} 777", "class 777 is not in"),
        ("vegfru", "veg200_lists/veg_train.txt", "veg_0/v_0_0.jpg 1", "veg_0 has the labels 1 and 0"),
        ("vegfru", "veg200_lists/veg_train.txt", "veg_1/v_1_99.jpg 0", "label 0 is both veg_1 and veg_0"),
        ("vegfru", "veg200_lists/veg_train.txt", "veg_0/v_0_0.jpg", "expected path and label"),
        ("nabirds", "images.txt", f"00000001{NABIRDS_ID[8:]} a.jpg", "line 2: id 00000001-.* twice"),
        ("nabirds", "classes.txt", "x Bird", r"classes\.txt: expected a whole number"),
        ("vegfru", "veg200_lists/veg_train.txt", "veg_0/v_0_0.jpg 293", "from 0 to 292, got 293"),
        ("lists", "train.txt", "images/1.jpg 100000", r"train\.txt line 1: .* from 0 to 99999, got 100000"),
        ("vegfru", "veg200_lists/veg_train.txt", "veg_0/v_0_0.jpg -1", "from 0 to 292, got -1"),
        ("lists", "train.txt", "images/1.jpg", "expected a path and labels"),
        ("lists", "train.txt", "images/1.jpg one", "expected a whole number from 0 to 99999, got 'one'"),
        ("lists", "train.txt", "images/2.jpg 0", r"images/2\.jpg twice"),
        ("csv", "index.csv", "path,label,part", r"no column 'split' \(it has path, label, part\)"),
    ],
)  # fmt: skip
def test_a_broken_list_is_one_clear_line(tmp_path: Path, name: str, file: str, line: str, message: str):
    build, images = LAYOUTS[name]
    write_images(tmp_path / images, build(tmp_path))
    break_line(tmp_path / file, 1, line)
    with pytest.raises(InputError, match=message) as caught:
        load(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("dogs", "train_list.mat"),
        ("cars", "stanford_cars/devkit/cars_train_annos.mat"),
        ("flowers102", "flowers-102/setid.mat"),
    ],
)
def test_what_is_no_matlab_file_is_named(tmp_path: Path, name: str, file: str):
    build, images = LAYOUTS[name]
    write_images(tmp_path / images, build(tmp_path))
    (tmp_path / file).write_text("not a matlab file")
    with pytest.raises(InputError, match=f"{Path(file).name}: no MATLAB file"):
        load(name, tmp_path / "stanford_cars" if name == "cars" else tmp_path)


def built(name: str, tmp_path: Path) -> Path:
    """A miniature with its pictures: its root."""
    build, images = LAYOUTS[name]
    write_images(tmp_path / images, build(tmp_path))
    return tmp_path / "stanford_cars" if name == "cars" else tmp_path


OPTIONAL = {"classes.txt", "image_class_labels.txt", "veg_val.txt", "fru_val.txt"}  # of cub200, and unread


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - {"folder"}))
def test_every_list_that_is_missing_or_empty_is_named(name: str, tmp_path: Path):
    root = built(name, tmp_path)
    for file in sorted(path for path in root.rglob("*") if path.suffix in (".txt", ".mat", ".csv")):
        if file.name in OPTIONAL and name != "nabirds":
            continue
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(InputError, match=file.name) as caught:
            load(name, root)
        assert "\n" not in str(caught.value)
        file.touch()
        with pytest.raises(InputError) as caught:
            load(name, root)
        assert "\n" not in str(caught.value)
        file.write_bytes(content)
    load(name, root)


def change(path: Path, **variables) -> None:
    """Write some of a MATLAB file's variables anew."""
    old = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    savemat(path, old | variables)


def breeds(*numbers: float) -> np.ndarray:
    return np.array(numbers)[:, None]


NINE = breeds(1, 1, 1, 2, 2, 2, 3, 3, 3)  # doubles, as MATLAB itself would say


def test_doubles_of_matlab_are_class_numbers(tmp_path: Path):
    root = built("dogs", tmp_path / "dogs")
    before = load("dogs", root).fingerprint
    change(root / "train_list.mat", labels=NINE)
    assert load("dogs", root).fingerprint == before
    root = built("flowers102", tmp_path / "flowers")
    before = load("flowers102", root).fingerprint
    labels = loadmat(root / "flowers-102/imagelabels.mat")["labels"].astype(float)
    change(root / "flowers-102/imagelabels.mat", labels=labels)
    change(root / "flowers-102/setid.mat", tstid=np.array([[5.0, 6.0, 11.0, 12.0, 17.0, 18.0]]))
    assert load("flowers102", root).fingerprint == before


@pytest.mark.parametrize(
    ("name", "file", "variables", "message"),
    [
        ("dogs", "train_list.mat", {"labels": NINE[:8]}, r"train_list\.mat: 9 files but 8 labels"),
        ("dogs", "train_list.mat", {"labels": NINE + 118}, r"expected a whole number from 1 to 120, got 121"),
        ("dogs", "train_list.mat", {"labels": NINE - 1}, r"n02085620_0\.jpg: expected .* got 0"),
        ("dogs", "train_list.mat", {"labels": NINE + 0.5}, r"expected a whole number .* got '1\.5'"),
        ("dogs", "train_list.mat", {"labels": NINE * np.nan}, r"expected a whole number .* got 'nan'"),
        ("dogs", "train_list.mat", {"labels": np.ones((9, 2))}, r"labels is a table of shape \(9, 2\)"),
        ("flowers102", "imagelabels.mat", {"labels": np.full((1, 18), 103)}, "from 1 to 102, got 103"),
        ("flowers102", "imagelabels.mat", {"labels": np.ones((1, 17))}, "image 18 has no label"),
        ("flowers102", "setid.mat", {"tstid": np.array([[19]])}, "image 19 has no label"),
        ("flowers102", "setid.mat", {"tstid": np.array([[0]])}, "of at least 1, got 0"),
        ("flowers102", "setid.mat", {"tstid": np.array([[1]])}, r"image_00001\.jpg twice"),
        ("flowers102", "setid.mat", {"tstid": np.zeros((1, 0))}, "no images of split query"),
        ("cars", "devkit/cars_meta.mat", {"class_names": np.array([["One"]], object)}, "from 1 to 1, got 2"),
        ("cars", "devkit/cars_train_annos.mat", {"annotations": NINE}, "have no fname and class"),
    ],
)  # fmt: skip
def test_a_broken_matlab_list_is_one_clear_line(
    tmp_path: Path, name: str, file: str, variables: dict, message: str
):
    root = built(name, tmp_path)
    change(root / ("flowers-102" if name == "flowers102" else "") / file, **variables)
    with pytest.raises(InputError, match=message) as caught:
        load(name, root)
    assert "\n" not in str(caught.value)


def test_a_dog_in_both_lists_is_named(tmp_path: Path):
    root = built("dogs", tmp_path)
    (root / "test_list.mat").write_bytes((root / "train_list.mat").read_bytes())
    with pytest.raises(InputError, match=r"Images/n02085620-Breed_0/n02085620_0\.jpg twice"):
        load("dogs", root)


@pytest.mark.parametrize("name", ["lists", "csv"])
def test_a_query_that_is_trained_on_is_named(name: str, tmp_path: Path):
    root = built(name, tmp_path)
    if name == "lists":
        break_line(root / "test.txt", 1, "images/1.jpg 0")
    else:
        break_line(root / "index.csv", 11, "pictures/1.jpg,name_0,query")
    with pytest.raises(
        InputError,
        match=r"query .*1\.jpg is the same file as .*1\.jpg of train or gallery",
    ):
        load(name, root)


def test_official_sizes_are_those_of_the_specification():
    sizes = {
        "cub200": (200, 5_994, 5_794),
        "aircraft": (100, 6_667, 3_333),
        "nabirds": (555, 23_929, 24_633),
        "food101": (101, 75_750, 25_250),
        "dogs": (120, 12_000, 8_580),
        "cars": (196, 8_144, 8_041),
    }
    for name, size in sizes.items():
        known = importlib.import_module(f"fghash.data.sets.{name}").OFFICIAL
        assert (known.classes, known.train, known.query) == size
    known = importlib.import_module("fghash.data.sets.vegfru").OFFICIAL["train"]
    assert (known.classes, known.train, known.query) == (292, 29_200, 116_931)


def shared_lists() -> Path:
    folder = Path(os.environ.get("FGHASH_SHARED", Path(__file__).parents[4] / "shared"))
    return folder / "data" / "splits.zip"


def official(name: str, prefix: str = "", first: int = 0) -> Rows:
    """The official lists, as (path, class from 0)."""
    with zipfile.ZipFile(shared_lists()) as archive:
        texts = {
            split: archive.read(f"splits/{name}_{file}.txt").decode().splitlines()
            for split, file in (("train", "train"), ("query", "test"))
            if f"splits/{name}_{file}.txt" in archive.namelist()
        }
    return {
        split: [(prefix + line.rsplit(" ", 1)[0], int(line.rsplit(" ", 1)[1]) - first) for line in lines]
        for split, lines in texts.items()
    }


FULL = {
    "cub200": (cub200, "cub_bird", "200 classes, 5,994 train / 5,794 query"),
    "dogs": (dogs, "stanford_dog", "120 classes, 12,000 train / 8,580 query"),
    "aircraft": (aircraft, "aircraft", "100 classes, 6,667 train / 3,333 query"),
    "cars": (cars, "stanford_cars", "196 classes, 8,144 train / 8,041 query"),
}


@pytest.mark.skipif(not shared_lists().exists(), reason="no official lists here")
@pytest.mark.parametrize("name", sorted(FULL))
def test_official_lists_give_the_official_counts(name: str, tmp_path: Path, monkeypatch):
    build, lists_name, description = FULL[name]
    listed = official(lists_name, first=1 if name == "cars" else 0)
    if name == "cub200":
        listed = {
            split: [(path.removeprefix("images/"), c) for path, c in part] for split, part in listed.items()
        }
    if name == "cars":
        listed = {
            split: [(f"cars_{'train' if split == 'train' else 'test'}/{path}", c) for path, c in part]
            for split, part in listed.items()
        }
    written = build(tmp_path, listed)
    monkeypatch.setattr(Path, "is_file", lambda self: True)  # the images themselves are not here
    module = DATASETS[name].load()(root=str(tmp_path / "stanford_cars" if name == "cars" else tmp_path))
    splits = module.read()
    assert splits.description == description
    assert {key: sorted(part) for key, part in found(splits).items()} == {
        key: sorted(part) for key, part in written.items()
    }


@pytest.mark.skipif(not shared_lists().exists(), reason="no official lists here")
def test_the_official_train_list_of_vegfru(tmp_path: Path, monkeypatch):
    listed = official("vegfru")
    some = {path.split("/")[1]: (path.rpartition("_")[0] + "_9999.jpg", c) for path, c in listed["train"]}
    listed["query"] = list(some.values())  # the official test list is not here: one image of each class
    vegfru(tmp_path, listed)
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    splits = read_vegfru(tmp_path)
    assert (len(splits.train), len(splits.class_names)) == (29_200, 292)
    assert found(splits)["train"] == listed["train"]


def test_more_images_than_were_published_are_refused(tmp_path: Path, monkeypatch):
    cub200(
        tmp_path,
        {"train": [(f"001.Bird/{k}.jpg", 0) for k in range(6_000)], "query": [("001.Bird/q.jpg", 0)]},
    )
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    with pytest.raises(InputError, match=r"has 6,000 train, the published data set 5,994"):
        load("cub200", tmp_path)
