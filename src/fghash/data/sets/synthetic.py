"""The embedded data set: families of birds that share all but small parts, drawn in memory, no download."""

from __future__ import annotations

from math import factorial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fghash.data.datamodule import RetrievalDataModule
from fghash.data.draws import permutation, uniforms
from fghash.data.images.birds import PARTS, Array, Birds, draw
from fghash.data.images.transforms import stored_size
from fghash.data.items import Arrays, Items, Splits
from fghash.errors import InputError

# What the parts are coloured with. All classes of a family wear the same colours, on different parts, so
# that the amount of each colour says next to nothing.
ACCENTS = np.array(
    [(245, 245, 240), (250, 205, 30), (215, 35, 35), (45, 85, 225), (20, 20, 25), (200, 80, 200)], np.float32
)

# Back, belly and wing of each family: muted, and repeated with other shapes when there are more families.
BODIES = np.array(
    [
        [(120, 88, 60), (200, 175, 140), (85, 60, 42)],
        [(110, 115, 125), (190, 190, 195), (70, 74, 84)],
        [(118, 122, 66), (196, 196, 140), (80, 84, 44)],
        [(160, 95, 62), (215, 170, 140), (110, 62, 42)],
        [(80, 105, 118), (165, 185, 190), (52, 70, 82)],
        [(150, 130, 105), (220, 210, 190), (105, 90, 72)],
    ],
    np.float32,
)

_SPLITS = {"train": 0, "query": 1}


class Synthetic(RetrievalDataModule):
    """Drawn birds: a class is where its family's colours sit; pose, light, scenery and leaves vary freely.

    Args:
        families: number of families.
        classes_per_family: classes of each family, at most 720.
        train_images: training pictures of each class (they are the gallery, too).
        query_images: query pictures of each class.
        image_size: side of the square that the network sees; pictures are drawn a little larger.
        seed: draws the classes and the pictures, and the validation split.

    The others as in :class:`RetrievalDataModule`; crops are plain squares by default, since a part can be all
    that tells a class.
    """

    def __init__(
        self,
        *,
        families: int = 5,
        classes_per_family: int = 4,
        train_images: int = 50,
        query_images: int = 20,
        image_size: int = 64,
        batch_size: int = 64,
        training_seed: int = 0,
        seed: int = 0,
        sampler: Literal["shuffle", "pk"] = "shuffle",
        classes_per_batch: int = 8,
        validation: float = 0.0,
        num_workers: int | None = 0,
        crop: Literal["random_resized", "random"] = "random",
        crop_scale: tuple[float, float] = (0.5, 1.0),
        flip: bool = True,
        features: str | None = None,
        views: int = 1,
    ) -> None:
        super().__init__(
            root=None,
            image_size=image_size,
            batch_size=batch_size,
            training_seed=training_seed,
            seed=seed,
            sampler=sampler,
            classes_per_batch=classes_per_batch,
            validation=validation,
            num_workers=num_workers,
            crop=crop,
            crop_scale=crop_scale,
            flip=flip,
            features=features,
            views=views,
        )
        counts = {
            "families": families,
            "classes_per_family": classes_per_family,
            "train_images": train_images,
            "query_images": query_images,
        }
        for name, value in counts.items():
            if value < 1:
                raise InputError(f"--data.{name}: must be at least 1, got {value}")
        if classes_per_family > factorial(len(PARTS)):
            raise InputError(f"--data.classes_per_family: must be at most 720, got {classes_per_family}")
        self.counts = counts

    def read(self) -> Splits:
        """Draw the pictures, as :func:`draw_splits`."""
        return draw_splits(**self.counts, side=stored_size(self.image_size), seed=self.seed)


def draw_splits(
    families: int, classes_per_family: int, train_images: int, query_images: int, side: int, seed: int
) -> Splits:
    """Training (= gallery) and query pictures of ``side`` pixels, the same bytes on every machine."""
    n_classes = families * classes_per_family
    parts = part_colours(families, classes_per_family, seed)
    splits = {}
    for split, per_class in (("train", train_images), ("query", query_images)):
        labels = np.repeat(np.arange(n_classes), per_class)
        pictures = draw(plan(labels, parts, classes_per_family, seed, split), side)
        names = [f"{split}/{label:03d}/{k:04d}" for k, label in enumerate(labels)]
        splits[split] = Items(Arrays(pictures), names, labels, np.arange(len(labels)))
    return Splits(
        train=splits["train"],
        gallery=splits["train"],
        query=splits["query"],
        class_names=tuple(
            f"family{family + 1}_class{c + 1}"
            for family in range(families)
            for c in range(classes_per_family)
        ),
        families=np.repeat(np.arange(families), classes_per_family),
        parameters=f"drawing 1, side {side}, seed {seed}, families {families}",
    )


def part_colours(families: int, classes_per_family: int, seed: int) -> Array:
    """Colours of every class's parts, (classes, parts, 3): rows of a Latin square as long as there are rows.

    So any two of the first six classes of a family differ in every part, and each part alone tells the class.
    """
    n_parts = len(PARTS)
    rows = np.empty((families, classes_per_family, n_parts), np.int64)
    for family in range(families):
        placed = permutation(seed, 1, family, n=n_parts)
        for c, order in enumerate(_arrangements(n_parts, classes_per_family)):
            rows[family, c] = placed[order]
    colours: Array = ACCENTS[rows.reshape(-1, n_parts)]
    return colours


def _arrangements(n: int, count: int) -> list[NDArray[np.int64]]:
    """``count`` different orders of 0 .. n - 1, the n rotations first."""
    found = [np.roll(np.arange(n), -shift) for shift in range(n)][:count]
    attempt = 0
    while len(found) < count:
        order = permutation(0, attempt, n=n)
        if not any((order == other).all() for other in found):
            found.append(order)
        attempt += 1
    return found


def plan(
    labels: NDArray[np.int64],
    parts: Array,
    classes_per_family: int,
    seed: int,
    split: str,
) -> Birds:
    """Everything about the pictures but their pixels: the class gives body and parts, chance the rest."""
    n = len(labels)
    family = labels // classes_per_family
    drawn = uniforms(seed, 2 + _SPLITS[split], np.arange(n), count=200).astype(np.float32)
    take = _Dealer(drawn)
    shapes = uniforms(seed, 4, np.arange(int(family.max()) + 1), count=4).astype(np.float32)
    jitter = take.between(-14, 14, 3)[:, None, :]
    return Birds(
        body=BODIES[family % len(BODIES)] + jitter,
        parts=parts[labels],
        shape=(np.float32(0.8) + np.float32(0.4) * shapes)[family],
        turn=take.between(-0.28, 0.28, 1)[:, 0],
        scale=take.between(0.18, 0.25, 1)[:, 0],
        shift=take.between(0.40, 0.60, 2),
        mirror=np.where(take.between(0, 1, 1)[:, 0] < 0.5, np.float32(-1), np.float32(1)),
        light=take.between(0.75, 1.1, 1) * take.between(0.9, 1.1, 3),
        shade=take.between(-0.5, 0.5, 2),
        scenery=_scenery(take),
        blobs=_blobs(take),
        leaves=_leaves(take),
    )


class _Dealer:
    """Hands out columns of uniform numbers, one after another."""

    def __init__(self, drawn: Array) -> None:
        self.drawn, self.used = drawn, 0

    def between(self, low: float, high: float, columns: int) -> Array:
        part = self.drawn[:, self.used : self.used + columns]
        assert part.shape[1] == columns
        self.used += columns
        values: Array = np.float32(low) + np.float32(high - low) * part
        return values


def _scenery(take: _Dealer) -> Array:
    base = take.between(50, 210, 3)[:, :, None, None]
    rough: Array = take.between(-70, 70, 75).reshape(-1, 3, 5, 5)
    scenery: Array = np.clip(base + rough, 10, 245)
    return scenery


def _blobs(take: _Dealer, count: int = 8) -> Array:
    """Berries and flowers: spots of any accent colour anywhere behind the bird."""
    drawn = take.between(0, 1, 4 * count).reshape(-1, count, 4)
    colour = ACCENTS[np.minimum(drawn[..., 3] * len(ACCENTS), len(ACCENTS) - 1).astype(np.int64)]
    radius = np.float32(0.02) + np.float32(0.05) * drawn[..., 2:3]
    return np.concatenate([drawn[..., :2], radius, colour], -1)


def _leaves(take: _Dealer, count: int = 2) -> Array:
    """Leaves before the bird."""
    drawn = take.between(0, 1, 6 * count).reshape(-1, count, 6)
    green = np.array((70, 110, 50), np.float32) + np.float32(70) * (drawn[..., 4:5] - np.float32(0.5))
    length = np.float32(0.08) + np.float32(0.12) * drawn[..., 2:3]
    turn = np.float32(2) * drawn[..., 3:4] - np.float32(1)
    return np.concatenate([drawn[..., :2], length, turn, green, length * np.float32(0.35)], -1)
