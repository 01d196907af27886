"""The drawn birds: families that differ in parts only, and pixels that are ruled by everything else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fghash.data.images.birds import PARTS, part_centres
from fghash.data.sets.synthetic import Synthetic, draw_splits, part_colours, plan
from fghash.errors import InputError

FAMILIES, CLASSES, SIDE = 5, 4, 74


@pytest.fixture(scope="module")
def splits():
    return draw_splits(FAMILIES, CLASSES, train_images=20, query_images=20, side=SIDE, seed=0)


def colour_histograms(pictures: np.ndarray) -> np.ndarray:
    """Square roots of 8 x 8 x 8 colour frequencies: their product is Hellinger's similarity."""
    levels = (pictures // 32).astype(int)
    codes = (levels[..., 0] * 64 + levels[..., 1] * 8 + levels[..., 2]).reshape(len(pictures), -1)
    return np.sqrt(np.stack([np.bincount(code, minlength=512) for code in codes]) / codes.shape[1])


def test_default_is_fine_grained():
    module = Synthetic()
    assert module.counts["families"] >= 5
    assert module.counts["classes_per_family"] >= 4


def test_families_and_classes(splits):
    assert splits.families.tolist() == [family for family in range(5) for _ in range(4)]
    assert np.bincount(splits.train.labels).tolist() == [20] * 20
    assert splits.gallery_is_train
    assert splits.train.read(3).shape == (SIDE, SIDE, 3)


def test_colour_histograms_are_nearly_blind_within_a_family(splits):
    gallery, query = (colour_histograms(items.source.pixels) for items in (splits.train, splits.query))
    similarity = query @ gallery.T
    same_family = splits.query.labels[:, None] // CLASSES == splits.train.labels // CLASSES
    nearest = np.where(same_family, similarity, -1).argmax(1)
    accuracy = (splits.train.labels[nearest] == splits.query.labels).mean()
    assert accuracy < 0.33  # chance is 0.25, one deviation 0.02


@pytest.mark.parametrize("part", range(len(PARTS)), ids=list(PARTS))
def test_each_part_alone_tells_the_class(splits, part: int):
    labels = splits.query.labels
    parts = part_colours(FAMILIES, CLASSES, seed=0)
    birds = plan(labels, parts, CLASSES, 0, "query")
    centres = np.clip(np.rint(part_centres(birds, SIDE)[:, part] - 0.5), 0, SIDE - 1).astype(int)
    pixels = splits.query.source.pixels[np.arange(len(labels)), centres[:, 1], centres[:, 0]].astype(float)
    candidates = parts[:, part].reshape(FAMILIES, CLASSES, 3)[labels // CLASSES]
    assert (nearest_colour(pixels, candidates) == labels % CLASSES).mean() > 0.85  # leaves hide some


def nearest_colour(pixels: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Which of each row's candidates has the pixel's hue, and, as a tie-break, its lightness."""

    def direction(colours: np.ndarray) -> np.ndarray:
        return colours / np.linalg.norm(colours, axis=-1, keepdims=True).clip(60)

    hue = ((direction(pixels)[:, None] - direction(candidates)) ** 2).sum(-1)
    light = (np.linalg.norm(pixels, axis=-1)[:, None] - np.linalg.norm(candidates, axis=-1)) / 255
    return (hue + 0.3 * light**2).argmin(1)


def test_classes_of_a_family_wear_the_same_colours_elsewhere():
    colours = part_colours(3, 6, seed=1).reshape(3, 6, len(PARTS), 3)
    for family in colours:
        assert len({tuple(sorted(map(tuple, one.tolist()))) for one in family}) == 1
        for part in range(len(PARTS)):
            assert len({tuple(one[part].tolist()) for one in family}) == 6


def test_many_classes_a_family_stay_different():
    colours = part_colours(1, 50, seed=0)
    assert len({one.tobytes() for one in colours}) == 50


def test_train_and_query_share_no_picture(splits):
    digests = [hashlib.sha256(one.tobytes()).hexdigest() for one in splits.train.source.pixels]
    digests += [hashlib.sha256(one.tobytes()).hexdigest() for one in splits.query.source.pixels]
    assert len(set(digests)) == len(digests)


def test_pictures_are_the_same_bytes_everywhere():
    pixels = draw_splits(2, 2, 2, 1, side=40, seed=7).train.source.pixels
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "6d7ae452dcb3e3c6"


def test_seed_and_parameters_change_the_fingerprint():
    first = draw_splits(2, 2, 2, 1, side=16, seed=0)
    assert first.fingerprint == draw_splits(2, 2, 2, 1, side=16, seed=0).fingerprint
    for other in ((2, 2, 2, 1, 16, 1), (2, 2, 2, 1, 18, 0), (1, 4, 2, 1, 16, 0)):
        assert draw_splits(*other[:4], side=other[4], seed=other[5]).fingerprint != first.fingerprint


@pytest.mark.parametrize("name", ["families", "classes_per_family", "train_images", "query_images"])
def test_counts_below_one_are_refused(name: str):
    with pytest.raises(InputError, match=f"--data.{name}: must be at least 1, got 0"):
        Synthetic(**{name: 0})


def test_more_classes_than_arrangements():
    with pytest.raises(InputError, match=r"--data\.classes_per_family: must be at most 720, got 721"):
        Synthetic(classes_per_family=721)
