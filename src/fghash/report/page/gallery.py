"""Queries with what each row finds for them: some at random, the worst and the best."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from fghash.codes import Codes
from fghash.evaluation.neighbours import nearest

TOP = 10
_EACH, _SIDE = 3, 96  # queries of each kind, pixels of a thumbnail
Read = Callable[[str, int], np.ndarray | None]  # part (queries, gallery) and position -> (h, w, 3) bytes


class Thumbnails:
    """Small images as data URLs, each stored once; nothing of items whose image cannot be read."""

    def __init__(self, read: Read) -> None:
        self._read, self.urls = read, dict[str, str]()

    def name(self, part: str, position: int) -> str | None:
        """The key of the image in :attr:`urls`."""
        key = f"{part[0]}{position}"
        if key not in self.urls:
            pixels = self._read(part, position)
            if pixels is None:
                return None
            self.urls[key] = _url(pixels)
        return key


def chosen_queries(precision: np.ndarray, seed: int = 0) -> list[tuple[str, int]]:
    """(kind, query): three at random, the three with the lowest and the three with the highest ``precision``.

    ``precision`` (q,) is the mean over all rows that are shown, so that no row chooses its own queries;
    queries of equal precision are drawn.
    """
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(precision))
    order = drawn[np.argsort(precision[drawn], kind="stable")]
    kinds = {"random": drawn[:_EACH], "worst": order[:_EACH], "best": order[::-1][:_EACH]}
    return [(kind, int(each)) for kind, found in kinds.items() for each in found]


def results(
    chosen: list[tuple[str, int]],
    rows: Mapping[str, tuple[Codes, Codes]],
    labels: tuple[np.ndarray, np.ndarray],
    pictures: Thumbnails,
) -> list[dict[str, Any]]:
    """Of each chosen query: its kind, image and class, and per row the first ten items.

    Args:
        chosen: of :func:`chosen_queries`.
        rows: codes of queries and gallery of each row.
        labels: of queries (q,) and gallery (g,).
        pictures: collects the images.
    """
    positions = np.array([query for _, query in chosen])
    found = {
        row: nearest(queries.take(positions), gallery, min(TOP, len(gallery)))[0]
        for row, (queries, gallery) in rows.items()
    }
    of_queries, of_gallery = labels
    return [
        {
            "kind": kind,
            "image": pictures.name("queries", query),
            "label": int(of_queries[query]),
            "found": {
                row: [_item(int(item), of_gallery, of_queries[query], pictures) for item in items[i]]
                for row, items in found.items()
            },
        }
        for i, (kind, query) in enumerate(chosen)
    ]


def _item(position: int, labels: np.ndarray, wanted: int, pictures: Thumbnails) -> dict[str, Any]:
    label = int(labels[position])
    return {"image": pictures.name("gallery", position), "label": label, "right": label == int(wanted)}


def _url(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
