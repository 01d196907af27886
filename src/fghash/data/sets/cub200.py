"""CUB-200-2011: 200 species of birds, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import entries, layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=200, train=5994, query=5794)


class Cub200(RetrievalDataModule):
    """Birds, official split: query = test, gallery = train = training part (Wah et al. 2011)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_cub200`."""
        return read_cub200(self.root)


def read_cub200(root: str | Path | None) -> Splits:
    """Read ``images.txt``, ``train_test_split.txt`` and, where present, ``image_class_labels.txt``.

    Without the latter the class is the image's folder. Ids that ``images.txt`` does not have are ignored: it
    alone says which images there are, so a subset of the official folder is read as that subset.

    Raises:
        InputError: something is missing, an id is twice or has no split, a label is out of range, a class
            folder
            has no images.
    """
    folder = layout.first_folder(root, "CUB_200_2011")
    layout.existing_root(folder, "images.txt", "train_test_split.txt", "images")
    paths = layout.keyed_lines(folder / "images.txt")
    in_train = layout.column(folder / "train_test_split.txt", paths, 0, 1)
    classes, class_names = _classes(folder, paths)
    _refuse_empty_classes(folder, set(class_names.values()), paths)
    layout.check_files(folder / "images", list(paths.values()), str(folder / "images.txt"))
    listed: dict[str, list[tuple[str, int]]] = {"train": [], "query": []}
    for key, path in paths.items():
        listed["train" if in_train[key] else "query"].append((f"images/{path}", classes[key]))
    return layout.class_splits(folder, listed, class_names, OFFICIAL)


def _classes(folder: Path, paths: dict[str, str]) -> tuple[dict[str, int], dict[int, str]]:
    """Class number of each image id, and the name of each class that has an image."""
    of_folder = {key: path.rpartition("/")[0] for key, path in paths.items()}
    named = layout.keyed_lines(folder / "classes.txt") if (folder / "classes.txt").exists() else {}
    labels = folder / "image_class_labels.txt"
    if not labels.exists():
        numbers = {name: number for number, name in enumerate(sorted(set(of_folder.values())), 1)}
        return {key: numbers[name] for key, name in of_folder.items()}, {
            n: name for name, n in numbers.items()
        }
    classes = layout.column(labels, paths, 1, len(named) or OFFICIAL.classes)
    return classes, {number: named.get(str(number), of_folder[key]) for key, number in classes.items()}


def _refuse_empty_classes(folder: Path, with_images: set[str], paths: dict[str, str]) -> None:
    listed = {path.rpartition("/")[0] for path in paths.values()} | with_images
    skipped = entries.Skipped()
    for class_folder in entries.folders(folder / "images", skipped):
        if class_folder.name not in listed and not entries.images(class_folder, skipped):
            raise InputError(f"--data.root: class folder {class_folder} has no images")
