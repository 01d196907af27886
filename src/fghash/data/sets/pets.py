"""Oxford-IIIT Pets: 37 breeds of cats and dogs, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=37, train=3_680, query=3_669)


class Pets(RetrievalDataModule):
    """Cats and dogs, official split: query = test, gallery = train = trainval (Parkhi et al. 2012)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_pets`."""
        return read_pets(self.root)


def read_pets(root: str | Path | None) -> Splits:
    """Read ``annotations/trainval.txt`` and ``annotations/test.txt``: image, class, species, breed a line.

    Raises:
        InputError: something is missing, a line is short, a class is out of range, an image is twice.
    """
    folder = layout.first_folder(root, "oxford-iiit-pet")
    layout.existing_root(folder, "images", "annotations/trainval.txt", "annotations/test.txt")
    listed = {
        "train": _list(folder / "annotations/trainval.txt"),
        "query": _list(folder / "annotations/test.txt"),
    }
    everything = [path for rows in listed.values() for path, _ in rows]
    layout.check_files(folder, everything, f"{folder}/annotations")
    breeds = {label: Path(path).stem.rpartition("_")[0] for rows in listed.values() for path, label in rows}
    return layout.class_splits(folder, listed, breeds, OFFICIAL)


def _list(path: Path) -> list[tuple[str, int]]:
    rows = []
    for number, line in layout.numbered_lines(path):
        if line.startswith("#"):
            continue
        columns = line.split()
        if len(columns) < 2:
            raise InputError(f"{path} line {number}: expected image and class, got {line!r}")
        label = layout.whole_number(columns[1], f"{path} line {number}", 1, OFFICIAL.classes)
        rows.append((f"images/{columns[0]}.jpg", label))
    return rows
