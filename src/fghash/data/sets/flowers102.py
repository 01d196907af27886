"""Oxford Flowers-102: the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=102, train=2_040, query=6_149)


class Flowers102(RetrievalDataModule):
    """Flowers: query = test, gallery = train = official train and validation (Nilsback, Zisserman 2008)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_flowers102`."""
        return read_flowers102(self.root)


def read_flowers102(root: str | Path | None) -> Splits:
    """Read ``setid.mat`` and ``imagelabels.mat`` beside ``jpg/``. The classes have numbers, not names.

    Raises:
        InputError: something is missing, an image has no label or is in two splits.
    """
    folder = layout.first_folder(root, "flowers-102")
    layout.existing_root(folder, "jpg", "setid.mat", "imagelabels.mat")
    train, validation, test = layout.read_mat(folder / "setid.mat", "trnid", "valid", "tstid")
    (labels,) = layout.read_mat(folder / "imagelabels.mat", "labels")
    ids = {"train": [*train.tolist(), *validation.tolist()], "query": test.tolist()}
    listed = {split: [_row(folder, image, labels) for image in images] for split, images in ids.items()}
    everything = [path for rows in listed.values() for path, _ in rows]
    layout.check_files(folder, everything, f"{folder / 'setid.mat'}")
    names = {label: f"flower_{label:03d}" for label in range(1, OFFICIAL.classes + 1)}
    return layout.class_splits(folder, listed, names, OFFICIAL)


def _row(folder: Path, image: Any, labels: NDArray[Any]) -> tuple[str, int]:
    number = layout.whole_number(layout.number_text(image), f"{folder / 'setid.mat'}", 1)
    if number > len(labels):
        raise InputError(f"{folder / 'setid.mat'}: image {number} has no label in imagelabels.mat")
    where = f"{folder / 'imagelabels.mat'}, image {number}"
    label = layout.whole_number(layout.number_text(labels[number - 1]), where, 1, OFFICIAL.classes)
    return f"jpg/image_{number:05d}.jpg", label
