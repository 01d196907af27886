"""Looking at every file of a data set before a long training does."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from fghash.data.frozen.feature_rows import FeatureRows
from fghash.data.images.decoding import has_damaged_orientation
from fghash.data.items import Files, Items, Splits
from fghash.data.overlap import refuse_same_files
from fghash.data.sets.csv import SEPARATOR
from fghash.display import harmless
from fghash.errors import InputError
from fghash.files import replacing


@dataclass(frozen=True)
class Report:
    """What was found: ``unreadable`` (path, reason), ``shared`` (query and gallery item of equal bytes),
    ``damaged`` (files whose EXIF orientation is ignored).
    """

    splits: Splits
    unreadable: tuple[tuple[str, str], ...]
    shared: tuple[tuple[str, str], ...]
    damaged: tuple[str, ...] = ()

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
        yield from (harmless(f"  {path}: {reason}") for path, reason in self.unreadable)
        if self.damaged:
            yield f"damaged EXIF orientations, ignored: {len(self.damaged)}"
            yield from (harmless(f"  {name}") for name in self.damaged)
        yield f"queries that are in the gallery: {len(self.shared)}"
        yield from (harmless(f"  {query} = {gallery}") for query, gallery in self.shared)

    @property
    def root(self) -> Path | None:
        """The folder that the items' names are below, if they are files."""
        source = self.splits.train.source
        return source.root if isinstance(source, Files) else None

    def write_list(self, path: Path) -> int:
        """Write what is readable, and of the queries what is not in the gallery, as a table for ``--data
        csv``: whole, or not at all.

        Gives the number of lines left out.

        Raises:
            InputError: the items are no files, a class has a name that the table cannot hold, or the table
                cannot be written.
        """
        if self.root is None:
            raise InputError("--fix-list: this data set's images are no files, a list cannot name them")
        for name in self.splits.class_names:
            if SEPARATOR in name or name != name.strip():
                raise InputError(f"--fix-list: a table cannot hold the class name {name!r}, rename the class")
        rows = list(self._rows())
        _write_table(path, [row for row, wrong in rows if not wrong])
        return sum(wrong for _, wrong in rows)

    def _rows(self) -> Iterator[tuple[tuple[str, str, str], bool]]:
        """(path, labels, split) of every item, and whether it is wrong."""
        unreadable, found = {name for name, _ in self.unreadable}, {name for name, _ in self.shared}
        for split, items in self.splits.parts():
            wrong = unreadable | found if split == "query" else unreadable
            for name, label in zip(items.names, _label_texts(items, self.splits.class_names), strict=True):
                yield (name, label, split), name in wrong


def check(splits: Splits, n_threads: int | None = None) -> Report:
    """Look at every image, and for queries whose bytes are also in the gallery.

    Raises:
        InputError: a query is a file of train or gallery, or a split has a file twice.
    """
    refuse_same_files(splits)
    wanted = {name: (items, k) for _, items in splits.parts() for k, name in enumerate(items.names)}
    looked = dict(zip(wanted, _each(list(wanted.values()), n_threads), strict=True))
    unreadable = tuple((name, reason) for name, (reason, _) in looked.items() if reason)
    by_content = {looked[name][1]: name for name in reversed(splits.gallery.names)}
    shared = tuple(  # of what is readable: two empty files are not one image
        (name, by_content[digest])
        for name in splits.query.names
        if (digest := looked[name][1]) in by_content and not looked[name][0]
    )
    damaged = tuple(
        name
        for name, (items, _) in wanted.items()
        if isinstance(items.source, Files) and has_damaged_orientation(items.source.root / name)
    )
    return Report(splits, unreadable, shared, damaged)


def _each(wanted: Sequence[tuple[Items, int]], n_threads: int | None) -> Iterator[tuple[str, str]]:
    """Reason why it cannot be read, or nothing, and hash of every image."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool, bar:
        looks = pool.map(lambda one: _look(*one), wanted)
        yield from bar.track(looks, len(wanted), description="opening files")


def _look(items: Items, index: int) -> tuple[str, str]:
    if isinstance(items.source, FeatureRows):
        row = items.source.features(items.positions[index : index + 1]).vector
        return "", hashlib.sha256(row.numpy().tobytes()).hexdigest()
    if not isinstance(items.source, Files):
        return "", hashlib.sha256(items.read(index).tobytes()).hexdigest()
    path = items.source.root / items.names[index]
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        items.read(index)
    except OSError as error:
        return error.strerror or str(error), str(path)
    except InputError as error:
        return str(error).removeprefix(f"cannot read image {harmless(str(path))}: "), digest
    return "", digest


def _write_table(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with (
        replacing(path, "--fix-list") as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows([("path", "label", "split"), *rows])


def _label_texts(items: Items, class_names: tuple[str, ...]) -> Iterator[str]:
    labels: NDArray[np.int64] = items.labels
    for label in labels:
        chosen = [label] if labels.ndim == 1 else np.flatnonzero(label)
        yield SEPARATOR.join(class_names[k] for k in chosen)
