"""VegFru: 200 vegetables and 92 fruits, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

Protocol = Literal["train", "trainval"]
OFFICIAL = {
    "train": Official(classes=292, train=29_200, query=116_931),
    "trainval": Official(classes=292, train=43_800, query=116_931),
}
_PARTS = ("veg200", "fru92")


class Vegfru(RetrievalDataModule):
    """Vegetables and fruits: query = test, gallery = train (Hou, Feng and Wang 2017).

    Args:
        protocol: what is trained on and searched in: the official ``train`` list, as ExchNet uses it, or
            ``trainval``.
    """

    def __init__(
        self,
        *,
        protocol: Protocol = "train",
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
        if protocol not in OFFICIAL:
            raise InputError(f"--data.protocol: must be train or trainval, got {protocol!r}")
        self.protocol: Protocol = protocol

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_vegfru`."""
        return read_vegfru(self.root, self.protocol)


def read_vegfru(root: str | Path | None, protocol: Protocol = "train") -> Splits:
    """Read ``veg200_lists/veg_train.txt`` and its like: lines of a path below the images' folder and a label.

    Raises:
        InputError: something is missing or empty, a line is short, two folders have one label or one
            has two, an image is twice.
    """
    folder = layout.first_folder(root, "vegfru-dataset")
    lists = {"train": ("train", "val") if protocol == "trainval" else ("train",), "query": ("test",)}
    listed = {
        split: [row for name in names for part in _PARTS for row in _list(folder, part, name)]
        for split, names in lists.items()
    }
    everything = [path for rows in listed.values() for path, _ in rows]
    layout.check_files(folder, everything, f"{folder}, the lists")
    return layout.class_splits(folder, listed, _names(listed), OFFICIAL[protocol])


def _list(folder: Path, part: str, name: str) -> list[tuple[str, tuple[int, int]]]:
    """Rows of one list; the part belongs to the class, for both parts may be numbered from 0."""
    inside = f"{part}_lists/{part[:3]}_{name}.txt"
    path = layout.existing_root(folder, inside) / inside
    rows = []
    for number, line in layout.numbered_lines(path):
        image, _, label = line.rpartition(" ")
        if not image:
            raise InputError(f"{path} line {number}: expected path and label, got {line!r}")
        file = image if image.startswith(f"{part}_images/") else f"{part}_images/{image}"
        class_number = layout.whole_number(label, f"{path} line {number}", 0, OFFICIAL["train"].classes)
        rows.append((file, (_PARTS.index(part), class_number)))
    if not rows:
        raise InputError(f"{path}: the list is empty")
    return rows


def _names(listed: dict[str, list[tuple[str, tuple[int, int]]]]) -> dict[tuple[int, int], str]:
    """The folder of each class."""
    names: dict[tuple[int, int], str] = {}
    labels: dict[str, tuple[int, int]] = {}
    for path, label in (row for rows in listed.values() for row in rows):
        name = path.split("/")[1]
        if names.setdefault(label, name) != name:
            raise InputError(f"--data.root: label {label[1]} is both {names[label]} and {name}")
        if labels.setdefault(name, label) != label:
            raise InputError(f"--data.root: {name} has the labels {labels[name][1]} and {label[1]}")
    return names
