"""A table of files with labels and splits, as CSV."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.entries import DataWarning
from fghash.data.items import Items, Splits
from fghash.display import harmless
from fghash.errors import InputError

SEPARATOR = ";"  # between several labels of one image
_SPLITS = {
    "train": "train", "training": "train", "gallery": "gallery", "database": "gallery", "query": "query",
    "queries": "query", "test": "query", "testing": "query",
}  # fmt: skip
_DELIMITERS = (",", "\t", ";", "|")
_LONGEST = 1000  # characters of a label
Rows = list[tuple[str, tuple[str, ...]]]


class Csv(RetrievalDataModule):
    """A table with one line per image: path below ``root``, label (several: separated by ``;``), split.

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
    for part in rows.values():
        found = layout.found_files(folder, [image for image, _ in part], str(path))
        part[:] = [(image, labels) for image, (_, labels) in zip(found, part, strict=True)]
    names = _class_names(rows)
    items = {split: _items(folder, split_rows, names) for split, split_rows in rows.items()}
    if any(part.labels.ndim == 2 for part in items.values()):
        items = {split: _items(folder, split_rows, names, several=True) for split, split_rows in rows.items()}
    gallery = items["gallery"] if rows["gallery"] else items["train"]
    return Splits(items["train"], gallery, items["query"], names)


def _lines(path: Path, columns: tuple[str, str, str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(path, labels, split) of each line."""
    text = layout.read_text(path)
    delimiter = _delimiter(text, columns)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    where: list[int] | None = None
    for fields in _rows(reader, path):
        if not any(field.strip() for field in fields):
            continue
        if where is None:
            where, width = _places(path, fields, columns), len(fields)
            continue
        at = f"{harmless(str(path))} line {reader.line_num}"
        if len(fields) > width:
            raise InputError(
                f"{at}: {len(fields)} fields, expected {width} as in the header (quote a '{delimiter}')"
            )
        fields = [*fields, *[""] * (width - len(fields))]
        image, label, split = (fields[place].strip() for place in where)
        yield _line(at, image, label, split, delimiter)
    if where is None:
        raise InputError(f"{harmless(str(path))}: empty, expected a header of {', '.join(columns)}")


def _rows(reader: Any, path: Path) -> Iterator[list[str]]:
    """The reader's rows; what it refuses is one line with its place."""
    start = 1
    try:
        for fields in reader:
            start = reader.line_num + 1
            yield fields
    except csv.Error as error:
        hint = " (a quote that is never closed?)"
        raise InputError(f"{harmless(str(path))} line {start}: {error}{hint}") from None


def _delimiter(text: str, columns: tuple[str, str, str]) -> str:
    """The first delimiter under which the header has every column, else the comma."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    wanted = {_key(column) for column in columns}
    for delimiter in _DELIMITERS:
        if wanted <= {_key(name.strip().strip('"')) for name in header.split(delimiter)}:
            return delimiter
    return ","


def _places(path: Path, header: list[str], columns: tuple[str, str, str]) -> list[int]:
    """Where each column is; upper and lower case and spaces around a name do not matter.

    Raises:
        InputError: a column is missing, or there twice.
    """
    names, places = [name.strip() for name in header], []
    for column in columns:
        exact = [i for i, name in enumerate(names) if name == column]
        found = exact or [i for i, name in enumerate(names) if _key(name) == _key(column)]
        if len(found) > 1:
            raise InputError(f"{harmless(str(path))}: column {column!r} {len(found)} times, expected once")
        if not found:
            has = harmless(", ".join(name[:40] for name in names[:20]))
            raise InputError(f"{harmless(str(path))}: no column {column!r} (it has {has})")
        places += found
    return places


def _key(name: str) -> str:
    return name.strip().casefold()


def _line(at: str, image: str, label: str, split: str, delimiter: str) -> tuple[str, tuple[str, ...], str]:
    if _key(split) not in _SPLITS:
        held_out = "; a validation part comes from --data.validation" if _key(split).startswith("val") else ""
        shown = harmless(repr(split[:60]))
        raise InputError(f"{at}: split must be train, query or gallery, got {shown}{held_out}")
    parts = (label,) if delimiter == SEPARATOR else label.split(SEPARATOR)
    labels = tuple(part.strip() for part in parts if part.strip())
    if not image or not labels:
        raise InputError(f"{at}: expected a path and a label, got {image!r} and {label!r}")
    if max(map(len, labels)) > _LONGEST:
        raise InputError(
            f"{at}: a label of {max(map(len, labels)):,} characters, expected at most {_LONGEST:,}"
        )
    return image, labels, _SPLITS[_key(split)]


def _class_names(rows: dict[str, Rows]) -> tuple[str, ...]:
    found = {label for split in rows.values() for _, labels in split for label in labels}
    _warn_of_near_names(found)
    numbers = all(label.isdecimal() for label in found)
    return tuple(sorted(found, key=lambda label: (int(label), label)) if numbers else sorted(found))


def _warn_of_near_names(names: set[str]) -> None:
    """One warning for classes that differ in case, leading zeros or ``.0`` only: they count as different."""
    near: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        number = re.fullmatch(r"0*([0-9]+)(?:\.0*)?", name)
        near[number[1] if number else name.casefold()].append(name)
    doubles = [group for group in near.values() if len(group) > 1]
    if doubles:
        shown = "; ".join(" and ".join(map(repr, group)) for group in doubles[:5])
        warnings.warn(
            harmless(f"labels that look alike count as different classes: {shown}"), DataWarning, stacklevel=2
        )


def _items(folder: Path, rows: Rows, names: tuple[str, ...], several: bool = False) -> Items:
    number = {name: k for k, name in enumerate(names)}
    several = several or any(len(labels) > 1 for _, labels in rows)
    array: NDArray[Any] = np.zeros((len(rows), len(names)), np.uint8)
    for line, (_, labels) in zip(array, rows, strict=True):
        line[[number[label] for label in labels]] = 1
    return Items.from_files(folder, [image for image, _ in rows], array if several else array.argmax(1))
