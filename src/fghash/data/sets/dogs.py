"""Stanford Dogs: 120 breeds, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=120, train=12_000, query=8_580)


class Dogs(RetrievalDataModule):
    """Breeds of dogs, official split: query = test, gallery = train (Khosla et al. 2011)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_dogs`."""
        return read_dogs(self.root)


def read_dogs(root: str | Path | None) -> Splits:
    """Read ``train_list.mat`` and ``test_list.mat``, beside ``Images/`` or in ``lists/``.

    Raises:
        InputError: something is missing, or a list names a file that does not exist or a label out of range.
    """
    folder = layout.existing_root(root, "Images")
    lists = folder / "lists" if (folder / "lists").is_dir() else folder
    layout.existing_root(lists, "train_list.mat", "test_list.mat")
    listed = {"train": _list(lists / "train_list.mat"), "query": _list(lists / "test_list.mat")}
    everything = [path for rows in listed.values() for path, _ in rows]
    layout.check_files(folder, everything, f"{lists}, the lists")
    breeds = {label: path.split("/")[1].partition("-")[2] for rows in listed.values() for path, label in rows}
    return layout.class_splits(folder, listed, breeds, OFFICIAL)


def _list(path: Path) -> list[tuple[str, int]]:
    files, labels = layout.read_mat(path, "file_list", "labels")
    if len(files) != len(labels):
        raise InputError(f"{path}: {len(files)} files but {len(labels)} labels")
    numbers = (layout.number_text(label) for label in labels.tolist())
    return [
        (f"Images/{file}", layout.whole_number(number, f"{path}, {file}", 1, OFFICIAL.classes))
        for file, number in zip(files.tolist(), numbers, strict=True)
    ]
