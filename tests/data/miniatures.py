"""Every data set's official layout, with true file formats and three classes (CIFAR-10 has all ten)."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Rows = dict[str, list[tuple[str, int]]]  # of each split: (path below the folder of images, class from 0)


def rows(pattern: str, train: int = 3, query: int = 2, classes: int = 3) -> Rows:
    """Paths by class ``c``, running number ``n`` within the class and ``i`` over all."""
    found: Rows = {"train": [], "query": []}
    i = 0
    for c in range(classes):
        for n in range(train + query):
            i += 1
            found["train" if n < train else "query"].append((pattern.format(c=c, n=n, i=i), c))
    return found


def write_images(folder: Path, listed: Rows) -> None:
    for path, label in (row for split in listed.values() for row in split):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(path) + label).integers(0, 60, (24, 32, 3))
        Image.fromarray((noise + 60 * label).astype(np.uint8)).save(file)


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def cells(values: list[str]) -> np.ndarray:
    """A MATLAB cell column of strings."""
    column = np.empty((len(values), 1), object)
    column[:, 0] = values
    return column


def cub200(root: Path, listed: Rows | None = None) -> Rows:
    listed = listed or rows("{c:03d}.Bird_{c}/Bird_{c}_{n}.jpg")
    everything = [(path, label, split) for split, part in listed.items() for path, label in part]
    names = {label: path.split("/")[0] for path, label, _ in everything}
    write_lines(root / "images.txt", [f"{k} {path}" for k, (path, _, _) in enumerate(everything, 1)])
    write_lines(root / "classes.txt", [f"{label + 1} {name}" for label, name in sorted(names.items())])
    write_lines(
        root / "image_class_labels.txt", [f"{k} {label + 1}" for k, (_, label, _) in enumerate(everything, 1)]
    )
    write_lines(
        root / "train_test_split.txt",
        [f"{k} {int(split == 'train')}" for k, (_, _, split) in enumerate(everything, 1)],
    )
    (root / "images").mkdir(exist_ok=True)
    return {split: [(f"images/{path}", label) for path, label in part] for split, part in listed.items()}


def nabirds(root: Path) -> Rows:
    listed = rows("{c:04d}/{i:032x}.jpg")
    everything = [(path, label, split) for split, part in listed.items() for path, label in part]
    ids = [f"0000{k:04x}-60f1-4ac7-99e5-e3eef11b8f8e" for k in range(len(everything))]
    numbered = list(zip(ids, everything, strict=True))
    write_lines(root / "images.txt", [f"{key} {path}" for key, (path, _, _) in numbered])
    write_lines(
        root / "image_class_labels.txt", [f"{key} {10 * label + 295}" for key, (_, label, _) in numbered]
    )
    write_lines(
        root / "train_test_split.txt", [f"{key} {int(split == 'train')}" for key, (*_, split) in numbered]
    )
    write_lines(root / "classes.txt", [f"{node} Bird {node} (Adult Male)" for node in range(400)])
    return {split: [(f"images/{path}", label) for path, label in part] for split, part in listed.items()}


def dogs(root: Path, listed: Rows | None = None) -> Rows:
    listed = listed or rows("Images/n0208562{c}-Breed_{c}/n0208562{c}_{n}.jpg")
    root.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train_list.mat"), ("query", "test_list.mat")):
        files = [path.removeprefix("Images/") for path, _ in listed[split]]
        variables = {
            "file_list": cells(files),
            "annotation_list": cells([file.removesuffix(".jpg") for file in files]),
            "labels": np.array([[label + 1] for _, label in listed[split]], np.uint8),
        }
        savemat(root / name, variables)
    (root / "Images").mkdir(exist_ok=True)
    return listed


def aircraft(root: Path, listed: Rows | None = None) -> Rows:
    listed = listed or rows("images/{i:07d}.jpg")
    folder = root / "fgvc-aircraft-2013b" / "data"
    n_classes = 1 + max(label for part in listed.values() for _, label in part)
    variants = [f"F/A-{label:03d} mark {label}" for label in range(n_classes)]
    write_lines(folder / "variants.txt", variants)
    for split, name in (("train", "trainval"), ("query", "test")):
        lines = [f"{Path(path).stem} {variants[label]}" for path, label in listed[split]]
        write_lines(folder / f"images_variant_{name}.txt", lines)
    (folder / "images").mkdir(exist_ok=True)
    return listed


def food101(root: Path) -> Rows:
    listed = rows("images/dish_{c}/{i}.jpg")
    for split, name in (("train", "train"), ("query", "test")):
        lines = [path.removeprefix("images/").removesuffix(".jpg") for path, _ in listed[split]]
        write_lines(root / "food-101" / "meta" / f"{name}.txt", lines)
        by_class = {f"dish_{c}": [line for line in lines if line.startswith(f"dish_{c}/")] for c in range(3)}
        (root / "food-101" / "meta" / f"{name}.json").write_text(json.dumps(by_class))
    return listed


CARS = [("bbox_x1", object), ("class", object), ("fname", object)]  # the other sides of the box left out


def cars(root: Path, listed: Rows | None = None) -> Rows:
    listed = listed or {
        "train": [(f"cars_train/{k + 1:05d}.jpg", k % 3) for k in range(9)],
        "query": [(f"cars_test/{k + 1:05d}.jpg", k % 3) for k in range(6)],
    }
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    n_classes = 1 + max(label for part in listed.values() for _, label in part)
    names = np.empty((1, n_classes), object)
    names[0] = [f"Maker Model {label} 2012" for label in range(n_classes)]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    for split, name in (("train", "devkit/cars_train_annos"), ("query", "cars_test_annos_withlabels")):
        table = np.array([(3, np.uint8(label + 1), Path(path).name) for path, label in listed[split]], CARS)
        savemat(folder / f"{name}.mat", {"annotations": table[None]})
    (folder / "cars_train").mkdir()
    (folder / "cars_test").mkdir()
    return listed


def flowers102(root: Path) -> Rows:
    folder = root / "flowers-102"
    folder.mkdir(parents=True)
    listed = rows("jpg/image_{i:05d}.jpg", train=4)
    labels = sorted(row for part in listed.values() for row in part)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[label + 1 for _, label in labels]], np.uint8)})
    ids = {split: [int(path[-9:-4]) for path, _ in part] for split, part in listed.items()}
    splits = {"trnid": ids["train"][0::2], "valid": ids["train"][1::2], "tstid": ids["query"]}
    savemat(folder / "setid.mat", {key: np.array([value], np.uint16) for key, value in splits.items()})
    return {"train": listed["train"][0::2] + listed["train"][1::2], "query": listed["query"]}


def pets(root: Path) -> Rows:
    listed = rows("images/Great_Breed_{c}_{n}.jpg")
    for split, name in (("train", "trainval"), ("query", "test")):
        lines = [f"{Path(path).stem} {label + 1} {1 + label % 2} 1" for path, label in listed[split]]
        write_lines(root / "oxford-iiit-pet" / "annotations" / f"{name}.txt", lines)
    return listed


def vegfru(root: Path, listed: Rows | None = None) -> Rows:
    """Two vegetables and, numbered from 0 again, one fruit; the train list only."""
    listed = listed or {
        "train": [(f"veg200_images/veg_{c}/v_{c}_{n}.jpg", c) for c in range(2) for n in range(3)]
        + [(f"fru92_images/fru_0/f_0_{n}.jpg", 2) for n in range(3)],
        "query": [("veg200_images/veg_0/v_0_8.jpg", 0), ("fru92_images/fru_0/f_0_8.jpg", 2)],
    }
    n_vegetables = 1 + max(label for path, label in listed["train"] if path.startswith("veg"))
    for split, name in (("train", "train"), ("query", "test")):
        for part, first in (("veg200", 0), ("fru92", n_vegetables)):
            mine = [row for row in listed[split] if row[0].startswith(part)]
            lines = [f"{path.removeprefix(f'{part}_images/')} {label - first}" for path, label in mine]
            write_lines(root / f"{part}_lists" / f"{part[:3]}_{name}.txt", lines)
    write_lines(root / "veg200_lists" / "veg_val.txt", ["veg_1/v_1_99.jpg 1"])
    write_lines(root / "fru92_lists" / "fru_val.txt", ["fru_0/f_0_99.jpg 0"])
    write_images(root / "veg200_images", {"val": [("veg_1/v_1_99.jpg", 1)]})
    write_images(root / "fru92_images", {"val": [("fru_0/f_0_99.jpg", 2)]})
    return listed


def cifar10(root: Path, python: bool = False, per_class: int = 620) -> np.ndarray:
    """Ten classes of ``per_class`` pictures in six files; the labels in their order."""
    folder = root / ("cifar-10-batches-py" if python else "cifar-10-batches-bin")
    folder.mkdir(parents=True)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), per_class))
    pixels = np.zeros((len(labels), 3072), np.uint8)
    pixels[:, :1024] = labels[:, None] * 20  # red tells the class
    pixels[:, -1] = 77  # the last blue pixel
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    for name, part in zip(names, np.array_split(np.arange(len(labels)), 6), strict=True):
        if python:
            batch = {"data": pixels[part], "labels": labels[part].tolist(), "batch_label": name}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        else:
            table = np.concatenate([labels[part, None].astype(np.uint8), pixels[part]], 1)
            (folder / f"{name}.bin").write_bytes(table.tobytes())
    return labels


def lists(root: Path) -> Rows:
    listed = rows("images/{i}.jpg")
    for split, name in (("train", "train"), ("query", "test")):
        write_lines(root / f"{name}.txt", [f"{path} {label}" for path, label in listed[split]])
    return listed


def table(root: Path) -> Rows:
    listed = rows("pictures/{i}.jpg")
    root.mkdir(parents=True, exist_ok=True)
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for split, part in listed.items():
            writer.writerows([path, f"name_{label}", split] for path, label in part)
    return listed


def tree(root: Path) -> Rows:
    return {
        split: [(f"{split}/class_{c}/{n}.jpg", c) for c in range(3) for n in range(k)]
        for split, k in (("train", 3), ("query", 2))
    }


# Builder of the lists, and the folder below the root in which the listed images lie.
LAYOUTS: dict[str, tuple[Callable[[Path], Rows], str]] = {
    "aircraft": (aircraft, "fgvc-aircraft-2013b/data"),
    "cars": (cars, "stanford_cars"),
    "csv": (table, ""),
    "cub200": (cub200, ""),
    "dogs": (dogs, ""),
    "flowers102": (flowers102, "flowers-102"),
    "folder": (tree, ""),
    "food101": (food101, "food-101"),
    "lists": (lists, ""),
    "nabirds": (nabirds, ""),
    "pets": (pets, "oxford-iiit-pet"),
    "vegfru": (vegfru, ""),
}
