"""A table of files with labels and splits, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Items, Splits
from fghash.errors import InputError

SEPARATOR = ";"  # between several labels of one image
_SPLITS = {
    "train": "train", "gallery": "gallery", "database": "gallery", "query": "query", "test": "query",
}  # fmt: skip
Rows = list[tuple[str, tuple[str, ...]]]


class Csv(RetrievalDataModule):
    """A table with a line an image: path below ``root``, label (several: separated by ``;``), split.

    Args:
        file: the table, below ``root`` or anywhere.
        path_column: name of the column of paths.
        label_column: name of the column of labels, which may be any text.
        split_column: name of the column of splits: ``train``, ``query`` (or ``test``) and ``gallery`` (or
            ``database``); without any ``gallery`` the gallery is the training set.
    """

    def __init__(
        self,
        *,
        file: str = "index.csv",
        path_column: str = "path",
        label_column: str = "label",
        split_column: str = "split",
        root: str | None = None,
        image_size: int = 224,
        batch_size: int = 64,
        training_seed: int = 0,
        seed: int = 0,
        sampler: Literal["shuffle", "pk"] = "shuffle",
        classes_per_batch: int = 8,
        validation: float = 0.0,
        num_workers: int | None = None,
        crop: Literal["random_resized", "random"] = "random_resized",
        crop_scale: tuple[float, float] = (0.08, 1.0),
        flip: bool = True,
        cache: str | None = None,
    ) -> None:
        super().__init__(
            root=root,
            image_size=image_size,
            batch_size=batch_size,
            training_seed=training_seed,
            seed=seed,
            sampler=sampler,
            classes_per_batch=classes_per_batch,
            validation=validation,
            num_workers=num_workers,
            crop=crop,
            crop_scale=crop_scale,
            flip=flip,
            cache=cache,
        )
        self.file, self.columns = file, (path_column, label_column, split_column)

    def read(self) -> Splits:
        """The table's splits, as :func:`read_csv`."""
        return read_csv(self.root, self.file, self.columns)


def read_csv(
    root: str | Path | None,
    file: str = "index.csv",
    columns: tuple[str, str, str] = ("path", "label", "split"),
) -> Splits:
    """Read a table with a header; classes are numbered in the order of their names, numbers by value.

    Raises:
        InputError: the table or a column is missing, a split is unknown or empty, an image is missing, twice
            in a split, or a query and in another split.
    """
    folder = layout.existing_root(root)
    path = folder / file
    rows: dict[str, Rows] = {"train": [], "gallery": [], "query": []}
    for image, labels, split in _lines(path, columns):
        rows[split].append((image, labels))
    for split in ("train", "query"):
        if not rows[split]:
            raise InputError(f"{path}: no image of split {split}")
    for split_rows in rows.values():
        layout.check_files(folder, [image for image, _ in split_rows], str(path))
    searched = (image for image, _ in rows["train"] + rows["gallery"])
    layout.refuse_shared((image for image, _ in rows["query"]), searched, str(path))
    names = _class_names(rows)
    items = {split: _items(folder, split_rows, names) for split, split_rows in rows.items()}
    if any(part.labels.ndim == 2 for part in items.values()):
        items = {split: _items(folder, split_rows, names, several=True) for split, split_rows in rows.items()}
    gallery = items["gallery"] if rows["gallery"] else items["train"]
    return Splits(items["train"], gallery, items["query"], names)


def _lines(path: Path, columns: tuple[str, str, str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(path, labels, split) of each line."""
    text = "\n".join(line for _, line in layout.numbered_lines(path))
    reader = csv.DictReader(text.splitlines())
    for column in columns:
        if column not in (reader.fieldnames or ()):
            raise InputError(f"{path}: no column {column!r} (it has {', '.join(reader.fieldnames or ())})")
    for number, row in enumerate(reader, 2):
        image, label, split = (row[column] or "" for column in columns)
        if split not in _SPLITS:
            raise InputError(f"{path} line {number}: split must be train, query or gallery, got {split!r}")
        labels = tuple(part.strip() for part in label.split(SEPARATOR) if part.strip())
        if not image or not labels:
            raise InputError(
                f"{path} line {number}: expected a path and a label, got {image!r} and {label!r}"
            )
        yield image, labels, _SPLITS[split]


def _class_names(rows: dict[str, Rows]) -> tuple[str, ...]:
    found = {label for split in rows.values() for _, labels in split for label in labels}
    numbers = all(label.isdecimal() for label in found)
    return tuple(sorted(found, key=int) if numbers else sorted(found))


def _items(folder: Path, rows: Rows, names: tuple[str, ...], several: bool = False) -> Items:
    number = {name: k for k, name in enumerate(names)}
    several = several or any(len(labels) > 1 for _, labels in rows)
    array: NDArray[Any] = np.zeros((len(rows), len(names)), np.uint8)
    for line, (_, labels) in zip(array, rows, strict=True):
        line[[number[label] for label in labels]] = 1
    return Items.from_files(folder, [image for image, _ in rows], array if several else array.argmax(1))
