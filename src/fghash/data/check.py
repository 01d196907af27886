"""Looking at every file of a data set before a long training does."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from fghash.data.csv import SEPARATOR
from fghash.data.items import Files, Items, Splits
from fghash.errors import InputError


@dataclass(frozen=True)
class Report:
    """What was found: ``unreadable`` (path, reason), ``shared`` (query and gallery item of equal bytes)."""

    splits: Splits
    unreadable: tuple[tuple[str, str], ...]
    shared: tuple[tuple[str, str], ...]

    @property
    def good(self) -> bool:
        """Whether every file is readable and no query is in the gallery."""
        return not self.unreadable and not self.shared

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        splits = self.splits
        yield splits.description
        sizes = (
            np.bincount(splits.train.labels) if splits.train.labels.ndim == 1 else splits.train.labels.sum(0)
        )
        yield f"training images of a class: {sizes.min()} to {sizes.max()}"
        yield f"fingerprint: {splits.fingerprint}"
        yield f"unreadable files: {len(self.unreadable)}"
        yield from (f"  {path}: {reason}" for path, reason in self.unreadable)
        yield f"queries that are in the gallery: {len(self.shared)}"
        yield from (f"  {query} = {gallery}" for query, gallery in self.shared)

    def write_list(self, path: Path) -> int:
        """Write what is readable, and of the queries what is not in the gallery, as a table for ``--data
        csv``.

        Gives the number of images left out.
        """
        bad = {name for name, _ in self.unreadable}
        found = {name for name, _ in self.shared}
        n_left_out = 0
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "split"])
            for split, items in _splits(self.splits):
                out = bad | found if split == "query" else bad
                for name, label in zip(
                    items.names, _label_texts(items, self.splits.class_names), strict=True
                ):
                    n_left_out += name in out
                    if name not in out:
                        writer.writerow([name, label, split])
        return n_left_out


def check(splits: Splits, n_threads: int | None = None) -> Report:
    """Open every file, and look for queries whose bytes are also in the gallery.

    Raises:
        InputError: the data set is not made of files.
    """
    sources = [items.source for _, items in _splits(splits)]
    files = [source for source in sources if isinstance(source, Files)]
    if len(files) < len(sources):
        raise InputError("data: only data sets of image files can be checked")
    names = list(dict.fromkeys(name for _, items in _splits(splits) for name in items.names))
    looked = dict(zip(names, _each(Files(files[0].root, names), n_threads), strict=True))
    unreadable = tuple((name, reason) for name, (reason, _) in looked.items() if reason)
    by_content = {looked[name][1]: name for name in reversed(splits.gallery.names)}
    shared = tuple(
        (name, by_content[looked[name][1]]) for name in splits.query.names if looked[name][1] in by_content
    )
    return Report(splits, unreadable, shared)


def _splits(splits: Splits) -> Iterator[tuple[str, Items]]:
    yield "train", splits.train
    if not splits.gallery_is_train:
        yield "gallery", splits.gallery
    yield "query", splits.query


def _each(files: Files, n_threads: int | None) -> Iterator[tuple[str, str]]:
    """Reason why it cannot be read, or nothing, and hash of every file."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool, bar:
        yield from bar.track(
            pool.map(lambda k: _look(files, k), range(len(files))), len(files), description="opening files"
        )


def _look(files: Files, position: int) -> tuple[str, str]:
    path = files.root / files.names[position]
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)
    try:
        files.read(position)
    except InputError as error:
        return str(error).removeprefix(f"cannot read image {path}: "), digest
    return "", digest


def _label_texts(items: Items, class_names: tuple[str, ...]) -> Iterator[str]:
    labels: NDArray[np.int64] = items.labels
    for label in labels:
        chosen = [label] if labels.ndim == 1 else np.flatnonzero(label)
        yield SEPARATOR.join(class_names[k] for k in chosen)
