"""One's own images: a folder a split, a folder a class."""

from __future__ import annotations

from pathlib import Path

from fghash.data import entries, layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Splits
from fghash.display import harmless
from fghash.errors import InputError

Listed = list[tuple[str, str]]


class Folder(RetrievalDataModule):
    """Any ``root/{train,query[,gallery]}/<class>/*`` tree; ``test`` is accepted for ``query``."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_folder`."""
        return read_folder(self.root)


def read_folder(root: str | Path | None) -> Splits:
    """Classes are the sub-folders' names; without ``gallery`` the gallery is the training set.

    Files that Pillow cannot open, hidden ones and those of the system are skipped, which one warning says.

    Raises:
        InputError: a split is missing, a class folder has no images, or a query class is not in the gallery.
    """
    folder = layout.existing_root(root, "train")
    query, skipped = _query_name(folder), entries.Skipped()
    listed = {"train": _classes(folder, "train", skipped), "query": _classes(folder, query, skipped)}
    if (folder / "gallery").is_dir():
        listed["gallery"] = _classes(folder, "gallery", skipped)
    skipped.warn(folder)
    _refuse_unfindable(folder, listed)
    names = {label for split in listed.values() for _, label in split}
    return layout.class_splits(folder, listed, {name: name for name in names})


def _query_name(folder: Path) -> str:
    for name in ("query", "test"):
        if (folder / name).is_dir():
            return name
    raise InputError(f"--data.root: {folder} has no query (or test), which this data set's layout has")


def _classes(folder: Path, split: str, skipped: entries.Skipped) -> Listed:
    """(path, class) of every image of one split."""
    listed: Listed = []
    for class_folder in entries.folders(folder / split, skipped):
        files = entries.images(class_folder, skipped)
        if not files:
            left_out = f" (skipped: {', '.join(skipped.files)})" if skipped.files else ""
            raise InputError(
                f"--data.root: class folder {harmless(str(class_folder))} has no images{left_out}"
            )
        listed += [(f"{split}/{class_folder.name}/{file.name}", class_folder.name) for file in files]
    if not listed:
        raise InputError(f"--data.root: {folder / split} has no class folders")
    return listed


def _refuse_unfindable(folder: Path, listed: dict[str, Listed]) -> None:
    findable = {label for _, label in listed.get("gallery", listed["train"])}
    for _, label in listed["query"]:
        if label not in findable:
            where = "gallery" if "gallery" in listed else "train"
            raise InputError(f"--data.root: query class {label!r} of {folder} is not in {where}")
