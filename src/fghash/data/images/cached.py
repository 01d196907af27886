"""A data set whose files are replaced by their decoded cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fghash.data.images.cache_build import decoded
from fghash.data.items import Files, Items, Splits


def cached(splits: Splits, cache: str, short_side: int, n_threads: int) -> Splits:
    """The same splits, read from the cache; built if it is not there. Drawn data stay as they are.

    Raises:
        InputError: as :func:`fghash.data.images.cache_build.decoded`.
    """
    everything = [items for _, items in splits.parts()]
    roots = {items.source.root for items in everything if isinstance(items.source, Files)}
    if not roots:
        return splits
    (root,) = roots
    names = list(dict.fromkeys(name for items in everything for name in items.names))
    place = {name: position for position, name in enumerate(names)}
    tolerant = any(getattr(items.source, "tolerate_truncated", False) for items in everything)
    source = decoded(Files(root, tuple(names), tolerant), cache, splits.fingerprint, short_side, n_threads)

    def moved(items: Items) -> Items:
        return replace(
            items, source=source, positions=np.array([place[name] for name in items.names], np.int64)
        )

    return splits.map(moved)
