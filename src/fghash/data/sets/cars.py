"""Stanford Cars: 196 makes and models, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=196, train=8_144, query=8_041)


class Cars(RetrievalDataModule):
    """Cars, official split: query = test, gallery = train (Krause et al. 2013)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_cars`."""
        return read_cars(self.root)


def read_cars(root: str | Path | None) -> Splits:
    """Read ``cars_train_annos.mat``, ``cars_test_annos_withlabels.mat`` and ``cars_meta.mat``, in
    ``devkit/`` or beside.

    Raises:
        InputError: something is missing (the devkit's own test list has no labels), a label is out of range.
    """
    folder = layout.existing_root(root, "cars_train", "cars_test")
    (class_names,) = layout.read_mat(_find(folder, "cars_meta.mat"), "class_names")
    listed = {
        "train": _list(_find(folder, "cars_train_annos.mat"), "cars_train", len(class_names)),
        "query": _list(_find(folder, "cars_test_annos_withlabels.mat"), "cars_test", len(class_names)),
    }
    for split, rows in listed.items():
        layout.check_files(folder, [path for path, _ in rows], f"{folder}, {split} list")
    names = dict(enumerate(class_names.tolist(), 1))
    return layout.class_splits(folder, listed, names, OFFICIAL)


def _find(folder: Path, name: str) -> Path:
    for place in (folder / "devkit" / name, folder / name):
        if place.exists():
            return place
    raise InputError(f"--data.root: {folder} has no {name}, which this data set's layout has")


def _list(path: Path, images: str, n_classes: int) -> list[tuple[str, int]]:
    (annotations,) = layout.read_mat(path, "annotations")
    if annotations.dtype.names is None or not {"fname", "class"} <= set(annotations.dtype.names):
        raise InputError(f"{path}: its annotations have no fname and class")
    return [
        (
            f"{images}/{row['fname']}",
            layout.whole_number(layout.number_text(row["class"]), f"{path}, {row['fname']}", 1, n_classes),
        )
        for row in annotations
    ]
