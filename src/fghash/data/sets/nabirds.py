"""NABirds: 555 visual categories of North American birds, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=555, train=23_929, query=24_633)


class Nabirds(RetrievalDataModule):
    """Birds, official split: query = test, gallery = train (Van Horn et al. 2015)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_nabirds`."""
        return read_nabirds(self.root)


def read_nabirds(root: str | Path | None) -> Splits:
    """Read ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt`` and ``classes.txt``.

    ``classes.txt`` names 1,011 nodes of a hierarchy, 555 of which have images.

    Raises:
        InputError: something is missing, an id is twice or has no split, a label is not in ``classes.txt``.
    """
    folder = layout.first_folder(root, "nabirds")
    layout.existing_root(
        folder, "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "images"
    )
    paths = layout.keyed_lines(folder / "images.txt")
    in_train = layout.column(folder / "train_test_split.txt", paths, 0, 1)
    labels = layout.column(folder / "image_class_labels.txt", paths, 0, None)
    nodes = layout.keyed_lines(folder / "classes.txt")
    names = {layout.whole_number(key, f"{folder / 'classes.txt'}", 0): name for key, name in nodes.items()}
    for key, label in labels.items():
        if label not in names:
            raise InputError(
                f"{folder / 'image_class_labels.txt'} id {key}: class {label} is not in classes.txt"
            )
    layout.check_files(folder / "images", list(paths.values()), str(folder / "images.txt"))
    listed: dict[str, list[tuple[str, int]]] = {"train": [], "query": []}
    for key, path in paths.items():
        listed["train" if in_train[key] else "query"].append((f"images/{path}", labels[key]))
    return layout.class_splits(folder, listed, names, OFFICIAL)
