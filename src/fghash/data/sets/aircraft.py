"""FGVC-Aircraft, variants: 100 models of aircraft, the official folder as it unpacks."""

from __future__ import annotations

from pathlib import Path

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.items import Official, Splits
from fghash.errors import InputError

OFFICIAL = Official(classes=100, train=6_667, query=3_333)


class Aircraft(RetrievalDataModule):
    """Aircraft variants: query = test, gallery = train = official train and validation (Maji et al. 2013)."""

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_aircraft`."""
        return read_aircraft(self.root)


def read_aircraft(root: str | Path | None) -> Splits:
    """Read ``images_variant_trainval.txt``, ``images_variant_test.txt`` and ``variants.txt``.

    ``root`` may be the unpacked archive, or the ``data`` folder in it.

    Raises:
        InputError: something is missing, an id is twice, a variant is not in ``variants.txt``.
    """
    folder = layout.first_folder(root, "fgvc-aircraft-2013b/data", "data")
    layout.existing_root(
        folder, "images", "variants.txt", "images_variant_trainval.txt", "images_variant_test.txt"
    )
    variants = [name for _, name in layout.numbered_lines(folder / "variants.txt")]
    listed = {
        "train": _list(folder / "images_variant_trainval.txt", variants),
        "query": _list(folder / "images_variant_test.txt", variants),
    }
    everything = [path for rows in listed.values() for path, _ in rows]
    layout.check_files(folder, everything, f"{folder}, trainval and test lists")
    return layout.class_splits(folder, listed, dict(enumerate(variants)), OFFICIAL)


def _list(path: Path, variants: list[str]) -> list[tuple[str, int]]:
    number = {name: k for k, name in enumerate(variants)}
    rows = []
    for image, variant in layout.keyed_lines(path).items():
        if variant not in number:
            raise InputError(f"{path}, {image}: variant {variant!r} is not in variants.txt")
        rows.append((f"images/{image}.jpg", number[variant]))
    return rows
