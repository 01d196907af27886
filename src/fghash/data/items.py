"""What a data set is before any pixel is read: named items with labels, in three splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fghash.data.draws import permutation
from fghash.data.images.decoding import read_image
from fghash.data.images.resample import scaled, scaled_shape
from fghash.errors import InputError


class Source(Protocol):
    """Images by position."""

    def __len__(self) -> int: ...

    def read(self, position: int, short_side: int | None = None) -> NDArray[np.uint8]:
        """The image as (height, width, 3) RGB: as stored, or scaled to a ``short_side`` in pixels."""
        ...


@dataclass(frozen=True)
class Files:
    """Image files below ``root``."""

    root: Path
    names: Sequence[str]
    tolerate_truncated: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def read(self, position: int, short_side: int | None = None) -> NDArray[np.uint8]:
        """Decode one file; an unreadable one raises InputError with its path."""
        return read_image(self.root / self.names[position], short_side, self.tolerate_truncated)


@dataclass(frozen=True)
class Arrays:
    """Images already in memory, (n, height, width, 3)."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, position: int, short_side: int | None = None) -> NDArray[np.uint8]:
        """One image, not a copy unless it must be scaled."""
        image: NDArray[np.uint8] = self.pixels[position]
        if short_side is None:
            return image
        return scaled(image, scaled_shape(len(image), image.shape[1], short_side))


@dataclass(frozen=True)
class Items:
    """The items of one split.

    ``names`` are relative paths (the identity of an item, independent of where the data lies); ``labels`` are
    (n,) classes or (n, classes) multi-hot; ``positions`` are the items' places in ``source``.
    """

    source: Source
    names: Sequence[str]
    labels: NDArray[Any]
    positions: NDArray[np.int64]

    @classmethod
    def from_files(cls, root: Path, names: Sequence[str], labels: Sequence[Any] | NDArray[Any]) -> Items:
        """Items that are files below ``root``, in this order."""
        return cls(Files(root, tuple(names)), tuple(names), _labels(labels), np.arange(len(names)))

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, index: int, short_side: int | None = None) -> NDArray[np.uint8]:
        """The image of item ``index`` of this split, as :meth:`Source.read`."""
        return self.source.read(int(self.positions[index]), short_side)

    def take(self, indices: NDArray[np.int64]) -> Items:
        """Some of the items, in the order given."""
        return replace(
            self,
            names=[self.names[i] for i in indices],
            labels=self.labels[indices],
            positions=self.positions[indices],
        )


def _labels(labels: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(labels)
    return array.astype(np.uint8 if array.ndim == 2 else np.int64)


@dataclass(frozen=True)
class Official:
    """The published size of a data set, to tell a subset from the whole."""

    classes: int
    train: int
    query: int


@dataclass(frozen=True)
class Splits:
    """A data set as a retrieval benchmark: training items, gallery and queries.

    ``parameters`` is whatever besides names and labels determines the images (drawn data only).
    """

    train: Items
    gallery: Items
    query: Items
    class_names: tuple[str, ...]
    official: Official | None = None
    families: NDArray[np.int64] | None = None
    parameters: str = ""

    @property
    def gallery_is_train(self) -> bool:
        """Whether the gallery is exactly the training items."""
        return self.gallery is self.train

    def parts(self) -> list[tuple[str, Items]]:
        """Each split once with its name, the queries last; a gallery that is the training set is left out."""
        gallery = [] if self.gallery_is_train else [("gallery", self.gallery)]
        return [("train", self.train), *gallery, ("query", self.query)]

    def training_only(self) -> Splits:
        """Without queries, the gallery being the training items: what tuning may see."""
        nothing = self.query.take(np.zeros(0, np.int64))
        return replace(self, gallery=self.train, query=nothing)

    def map(self, change: Callable[[Items], Items]) -> Splits:
        """The same splits with their items changed; a gallery that is the training set stays that."""
        train = change(self.train)
        gallery = train if self.gallery_is_train else change(self.gallery)
        return replace(self, train=train, gallery=gallery, query=change(self.query))

    @property
    def fingerprint(self) -> str:
        """``<train>-<gallery>-<query>-<hash>``: the hash is of paths below the root, labels and splits."""
        digest = hashlib.sha256(self.parameters.encode())
        for split in ("train", "gallery", "query"):
            items: Items = getattr(self, split)
            for name, label in zip(items.names, items.labels.tolist(), strict=True):
                digest.update(os.fsencode(f"{split}\t{name}\t{label}\n"))
        counts = "-".join(str(len(items)) for items in (self.train, self.gallery, self.query))
        return f"{counts}-{digest.hexdigest()[:12]}"

    @property
    def description(self) -> str:
        """For people: ``50 of 200 classes, 1,500 train / 1,389 query``."""
        n_classes = len(self.class_names)
        n_train, n_gallery, n_query = len(self.train), len(self.gallery), len(self.query)
        official = self.official or Official(n_classes, n_train, n_query)
        classes = _count(n_classes, official.classes, "classes")
        if n_classes != official.classes:  # of fewer classes there are fewer images: nothing to remark upon
            official = Official(n_classes, n_train, n_query)
        train = _count(n_train, official.train, "train")
        gallery = "" if self.gallery_is_train else f" / {n_gallery:,} gallery"
        return f"{classes}, {train}{gallery} / {_count(n_query, official.query, 'query')}"


def tolerant(splits: Splits) -> Splits:
    """The same splits, whose incomplete files are read as far as they go."""

    def changed(items: Items) -> Items:
        if not isinstance(items.source, Files):
            return items
        return replace(items, source=replace(items.source, tolerate_truncated=True))

    return splits.map(changed)


def _count(found: int, official: int, what: str) -> str:
    return f"{found:,} {what}" if found == official else f"{found:,} of {official:,} {what}"


def check_fraction(fraction: float) -> None:
    """Refuse what :func:`hold_out` cannot hold out."""
    if not 0 <= fraction < 1:
        raise InputError(f"--data.validation: must be at least 0 and below 1, got {fraction}")


def hold_out(items: Items, fraction: float, seed: int) -> tuple[Items, Items]:
    """Split ``items`` into the rest and a stratified, seeded part of about ``fraction`` of each class.

    A class of two or more items gives at least one and keeps at least one; a class of one item keeps it.
    Multi-hot items are drawn without strata. Both parts keep the order of ``items``.

    Raises:
        InputError: ``fraction`` outside [0, 1), or nothing could be held out.
    """
    check_fraction(fraction)
    strata = items.labels if items.labels.ndim == 1 else np.zeros(len(items), np.int64)
    held = np.zeros(len(items), bool)
    for stratum in np.unique(strata) if fraction else ():
        members = np.flatnonzero(strata == stratum)
        n_held = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held[members[permutation(seed, int(stratum), n=len(members))[:n_held]]] = True
    if fraction and not held.any():
        raise InputError(f"--data.validation: {fraction} holds out nothing, every class has a single image")
    return items.take(np.flatnonzero(~held)), items.take(np.flatnonzero(held))
