"""The images of an index's items: files, members of shards, or items of the data set of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fghash.api import LoadedRun, images_of, spread
from fghash.data.images.decoding import read_image
from fghash.errors import InputError
from fghash.search.image_lists import ImageSource, list_images
from fghash.search.index_folder import SearchIndex, class_in_words
from fghash.store import RunFolder

ReadImage = Callable[[str], NDArray[np.uint8] | None]  # id -> (h, w, 3) bytes, None where it is gone


def reader(index: SearchIndex, short_side: int = 160) -> ReadImage:
    """Reads an item's image by its id; ``None`` for one that is not on this machine any more."""
    facts = index.manifest.facts
    of_data_set = _of_run(index) if facts.get("split") == "gallery" else None
    folder = Path(str(facts.get("folder", "")))
    paths = facts.get("paths", {})
    shards: dict[str, dict[str, ImageSource]] = {}

    def read(name: str) -> NDArray[np.uint8] | None:
        if of_data_set is not None:
            found = of_data_set(name)
            if found is not None:
                return found
        path = folder / (str(paths[name]) if isinstance(paths, dict) and name in paths else name)
        try:
            return read_image(path, short_side) if path.is_file() else _member(path, shards, short_side)
        except InputError:
            return None

    return read


def images_of_queries(run: LoadedRun, count: int) -> list[tuple[NDArray[np.uint8], str]]:
    """Queries of a stored run's data set with their classes, evenly spread; none where the data are not on
    this machine.
    """
    read = images_of(run.folder, short_side=None)
    names = RunFolder(run.folder).read_items("queries") if read is not None else None
    if read is None or not names:
        return []
    folder = RunFolder(run.folder)
    _, labels = folder.read_codes(folder.lengths()[-1], "network", "queries")
    places = spread(len(names), count)
    return [(read("queries", place), class_in_words(labels, run.class_names, place)) for place in places]


def _of_run(index: SearchIndex) -> ReadImage | None:
    run = Path(str(index.manifest.facts.get("run", "")))
    read = images_of(run) if (run / "config.yaml").is_file() else None
    if read is None:
        return None
    positions = {name: position for position, name in enumerate(RunFolder(run).read_items("gallery") or [])}

    def by_name(name: str) -> NDArray[np.uint8] | None:
        return read("gallery", positions[name]) if name in positions else None

    return by_name


def _member(
    path: Path, shards: dict[str, dict[str, ImageSource]], short_side: int
) -> NDArray[np.uint8] | None:
    """The image of ``shard.tar/member``."""
    shard, found, member = str(path).partition(".tar/")
    if not found:
        return None
    if shard not in shards:
        members = list_images([f"{shard}.tar"])
        shards[shard] = {source.id.partition(".tar/")[2]: source for source in members}
    source = shards[shard].get(member)
    return None if source is None else read_image(source.open(), short_side)  # type: ignore[arg-type]
