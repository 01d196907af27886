"""Images of a data set as files of one's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from PIL import Image

from fghash.data.items import Items, Splits
from fghash.errors import InputError
from fghash.files import disk_errors, replacing


def write_images(splits: Splits, split: str, folder: Path, per_class: int | None = None) -> int:
    """Write the images of ``split`` as ``folder/<class>/<name>.png``; how many there are.

    Args:
        splits: of a data set.
        split: ``query``, ``gallery`` or ``train``.
        folder: that need not be there.
        per_class: the first so many of each class; by default all.

    Raises:
        InputError: images without pixels, or a folder that cannot be written.
    """
    items: Items = getattr(splits, split)
    if items.labels.ndim > 1:
        raise InputError("data images: items have several labels each, expected one class an image")
    seen: Counter[int] = Counter()
    with disk_errors("--out", folder):
        for position, label in enumerate(items.labels.tolist()):
            if per_class is not None and seen[label] == per_class:
                continue
            seen[label] += 1
            place = folder / _plain(splits.class_names[label] if splits.class_names else str(label))
            place.mkdir(parents=True, exist_ok=True)
            name = PurePosixPath(items.names[position]).stem
            with replacing(place / f"{_plain(name)}.png", "--out") as temporary:
                Image.fromarray(items.read(position)).save(temporary)
    return sum(seen.values())


def _plain(name: str) -> str:
    """The name without what separates folders."""
    return name.replace("/", "_").replace("\\", "_").lstrip(".") or "_"
