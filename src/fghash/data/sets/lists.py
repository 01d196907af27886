"""Lists of files with labels, one or several an image: the format of HashNet's and DPQ's repositories."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Items, Splits
from fghash.display import harmless
from fghash.errors import InputError

Labels = Literal["auto", "one", "several", "vector"]
Rows = list[tuple[str, list[int]]]
_GALLERY = "database.txt"  # the usual name in those repositories
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")
_LARGEST = 99_999  # a larger class number is a mistake, and each image's vector would be as long


class Lists(RetrievalDataModule):
    """Text files of ``path label...`` or ``path 0 1 0 ...``, as HashNet and DPQ ship their splits.

    Args:
        train: list of the training images, below ``root``.
        gallery: list of the gallery; ``null``: ``database.txt`` where there is one, else the training set.
        query: list of the queries.
        labels: ``one`` class number a line, ``several``, or a ``vector`` of 0 and 1 for every class;
            ``auto``: one column is ``one``, equally many columns of only 0 and 1 are a ``vector``.
    """

    def __init__(
        self,
        *,
        train: str = "train.txt",
        gallery: str | None = None,
        query: str = "test.txt",
        labels: Labels = "auto",
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
        tolerate_truncated: bool = False,
        title: str | None = None,
        features: str | None = None,
        views: int = 1,
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
            tolerate_truncated=tolerate_truncated,
            title=title,
            features=features,
            views=views,
        )
        if labels not in ("auto", "one", "several", "vector"):
            raise InputError(f"--data.labels: must be auto, one, several or vector, got {labels!r}")
        self.files = (train, gallery, query)
        self.labels: Labels = labels

    def read(self) -> Splits:
        """The lists' splits, as :func:`read_lists`."""
        return read_lists(self.root, *self.files, labels=self.labels)


def read_lists(
    root: str | Path | None,
    train: str = "train.txt",
    gallery: str | None = None,
    query: str = "test.txt",
    labels: Labels = "auto",
) -> Splits:
    """Read the lists of the three splits, as :class:`Lists` says.

    Raises:
        InputError: a list is missing or empty, a line has no label, an image is twice or does not exist, a
            query is in another list, the labels are not of the kind said.
    """
    folder = layout.existing_root(root, train, query, *([gallery] if gallery else []))
    files = {"train": train, "query": query}
    if gallery or (folder / _GALLERY).is_file():
        files["gallery"] = gallery or _GALLERY
    rows = {split: _rows(folder, file) for split, file in files.items()}
    kind = _kind(rows) if labels == "auto" else labels
    everything = [row for part in rows.values() for row in part]
    n_classes = len(everything[0][1]) if kind == "vector" else 1 + max(max(found) for _, found in everything)
    items = {
        split: Items.from_files(
            folder,
            [path for path, _ in part],
            _array(part, kind, n_classes, folder / files[split]),
        )
        for split, part in rows.items()
    }
    names = tuple(f"class_{k}" for k in range(n_classes))
    return Splits(items["train"], items.get("gallery", items["train"]), items["query"], names)


def _rows(folder: Path, name: str) -> Rows:
    path = folder / name
    rows = []
    for number, line in layout.numbered_lines(path):
        if line.startswith("#"):
            continue
        where = f"{harmless(str(path))} line {number}"
        image, labels = _fields(line)
        if not labels and len(line.split()) > 1:
            labels = line.split()[-1:]
        if not image and not labels:
            raise InputError(f"{where}: expected a path and labels, got {harmless(repr(line[:80]))}")
        rows.append((image, [_number(label, where) for label in labels]))
    if not rows:
        raise InputError(f"{harmless(str(path))}: the list is empty")
    signed = any(-1 in labels for _, labels in rows)
    if signed and not all(value in (-1, 1) for _, labels in rows for value in labels):
        raise InputError(
            f"{harmless(str(path))}: -1 beside other numbers, expected only -1 and 1, or 0 and 1"
        )
    found = layout.found_files(folder, [image for image, _ in rows], str(path))
    return [
        (there, [max(value, 0) for value in labels]) for there, (_, labels) in zip(found, rows, strict=True)
    ]


def _fields(line: str) -> tuple[str, list[str]]:
    """The path, which may hold spaces, and the numbers after it; separated by white space or commas."""
    fields = re.split(r"\s*,\s*|\s+", line.strip().rstrip(","))
    count = 0
    while count < len(fields) and _NUMBER.fullmatch(fields[-1 - count]):
        count += 1
    if count == len(fields):
        count -= 1  # a path that looks like a number
    labels = fields[len(fields) - count :]
    match = re.match(rf"(.*?)(?:\s*,\s*|\s+){_joined(labels)}\s*,?\s*$", line.strip()) if labels else None
    return (match[1].strip().strip('"'), labels) if match else ("", [])


def _joined(labels: list[str]) -> str:
    return r"(?:\s*,\s*|\s+)".join(map(re.escape, labels))


def _number(label: str, where: str) -> int:
    """A class or an entry of a vector; ``1.0`` is 1.

    Raises:
        InputError: not a whole number, or one that is too large for a class (-1 is the 0 of some vectors).
    """
    text = re.sub(r"\.0*$", "", label)
    if text == "-1":
        return -1
    return layout.whole_number(text if len(text) < 20 else label[:20] + "...", where, 0, _LARGEST)


def _kind(rows: dict[str, Rows]) -> Labels:
    found = [labels for split in rows.values() for _, labels in split]
    lengths = {len(labels) for labels in found}
    if lengths == {1}:
        return "one"
    if len(lengths) == 1 and all(value < 2 for labels in found for value in labels):
        return "vector"
    return "several"


def _array(rows: Rows, kind: Labels, n_classes: int, path: Path) -> NDArray[Any]:
    """Labels as (n,) classes or (n, classes) 0 and 1."""
    for image, labels in rows:
        if kind == "one" and len(labels) != 1:
            raise InputError(f"{path}, {image}: expected one label, got {len(labels)}")
        if kind == "vector" and (len(labels) != n_classes or max(labels) > 1):
            raise InputError(f"{path}, {image}: expected {n_classes} columns of 0 and 1")
    if kind != "several":
        array = np.array([labels for _, labels in rows])
        return array[:, 0] if kind == "one" else array
    array = np.zeros((len(rows), n_classes), np.uint8)
    for row, (_, labels) in zip(array, rows, strict=True):
        row[labels] = 1
    return array
