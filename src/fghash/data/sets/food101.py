"""Food-101: dishes, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=101, train=75_750, query=25_250)


class Food101(RetrievalDataModule):
    """Dishes, official split: query = test, gallery = train, which is noisy (Bossard et al. 2014)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_food101`."""
        return read_food101(self.root)


def read_food101(root: str | Path | None) -> Splits:
    """Read ``meta/train.txt`` and ``meta/test.txt``, lines of ``class/id``.

    Raises:
        InputError: something is missing, a line has no class, an image is twice.
    """
    folder = layout.first_folder(root, "food-101")
    layout.existing_root(folder, "images", "meta/train.txt", "meta/test.txt")
    listed = {"train": _list(folder / "meta/train.txt"), "query": _list(folder / "meta/test.txt")}
    everything = [path for rows in listed.values() for path, _ in rows]
    layout.check_files(folder, everything, f"{folder}/meta")
    dishes = {dish: dish for rows in listed.values() for _, dish in rows}
    return layout.class_splits(folder, listed, dishes, OFFICIAL)


def _list(path: Path) -> list[tuple[str, str]]:
    rows = []
    for number, line in layout.numbered_lines(path):
        dish, _, image = line.partition("/")
        if not image:
            raise InputError(f"{path} line {number}: expected class/id, got {line!r}")
        rows.append((f"images/{line}.jpg", dish))
    return rows
