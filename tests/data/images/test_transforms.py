"""Our crops are torchvision's, in distribution and in pixels; drawn from (seed, epoch, index) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from fghash.data.draws import uniforms
from fghash.data.images.resample import scaled, scaled_shape
from fghash.data.images.transforms import (
    EvaluationTransform,
    TrainTransform,
    cut_batch,
    draw_boxes,
    stored_size,
)
from fghash.errors import InputError


def images_of(transform, pictures, keys) -> torch.Tensor:
    """The batch that the loaders make."""
    if transform.short_side is not None:
        shapes = [scaled_shape(*one.shape[:2], transform.short_side) for one in pictures]
        pictures = [scaled(one, shape) for one, shape in zip(pictures, shapes, strict=True)]
    return cut_batch(pictures, transform.cuts([one.shape[:2] for one in pictures], keys), transform.size)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    tensor = torch.from_numpy(coarse).permute(2, 0, 1)
    return reference.resize(tensor, [height, width]).permute(1, 2, 0).contiguous().numpy()


@pytest.mark.parametrize(("height", "width"), [(60, 80), (300, 40)])
def test_boxes_have_the_distribution_of_torchvision(height: int, width: int):
    n, scale = 1500, (0.08, 1.0)
    shapes = np.tile([height, width], (n, 1))
    ours = draw_boxes(shapes, scale, uniforms(0, np.arange(n), count=22))
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    crop = v2.RandomResizedCrop(32, scale=scale)
    drawn = [crop.make_params([image]) for _ in range(n)]
    theirs = np.array([[one[side] for side in ("top", "left", "height", "width")] for one in drawn])
    for side in range(4):
        assert ks_2samp(ours[:, side], theirs[:, side]).pvalue > 0.01
    assert ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 0.01


def test_boxes_lie_inside_whatever_the_shape():
    for shape in ((8, 8), (1, 50), (500, 3)):
        shapes = np.tile(shape, (200, 1))
        for top, left, height, width in draw_boxes(
            shapes, (0.08, 1.0), uniforms(1, np.arange(200), count=22)
        ):
            assert height > 0
            assert width > 0
            assert 0 <= top <= shape[0] - height
            assert 0 <= left <= shape[1] - width


def test_a_training_picture_is_torchvisions_crop_of_the_same_box():
    image = picture(61, 87)
    transform = TrainTransform(32, seed=5, flip=False)
    for index in range(8):
        row = uniforms(5, 3, index, count=23)
        top, left, height, width = draw_boxes(np.array([[61, 87]]), (0.08, 1.0), row[None, 1:])[0].tolist()
        expected = reference.resized_crop(
            torch.from_numpy(image).permute(2, 0, 1), top, left, height, width, [32, 32], antialias=True
        )
        ours = images_of(transform, [image], [(index, 3)])[0]
        assert (ours.int() - expected.int()).abs().max() <= 1


def test_half_are_mirrored():
    image = picture(40, 40)
    keys = [(index, 0) for index in range(400)]
    straight = images_of(TrainTransform(16, 0, flip=False), [image] * 400, keys)
    either = images_of(TrainTransform(16, 0, flip=True), [image] * 400, keys)
    same = (straight == either).flatten(1).all(1)
    assert (straight[~same].flip(-1) == either[~same]).all()
    assert 160 < same.sum() < 240


@pytest.mark.parametrize("crop", ["random", "random_resized"])
def test_augmentation_depends_on_seed_epoch_and_index_only(crop):
    pictures = [picture(50, 70, seed) for seed in range(3)]
    keys = [(4, 1), (9, 1), (2, 1)]
    together = images_of(TrainTransform(24, 7, crop), pictures, keys)
    torch.manual_seed(99)
    for k in (2, 0, 1):
        assert (images_of(TrainTransform(24, 7, crop), [pictures[k]], [keys[k]])[0] == together[k]).all()
    assert (images_of(TrainTransform(24, 8, crop), pictures, keys) != together).any()
    assert (images_of(TrainTransform(24, 7, crop), pictures, [(i, 2) for i, _ in keys]) != together).any()


def test_random_crops_reach_every_corner():
    image = np.zeros((46, 60, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(46)[:, None], np.arange(60)
    transform = TrainTransform(40, 0, "random", flip=False)
    crops = images_of(transform, [image] * 500, [(i, 0) for i in range(500)])
    assert stored_size(40) == 46
    assert set(crops[:, 0, 0, 0].tolist()) == set(range(7))
    assert set(crops[:, 1, 0, 0].tolist()) == set(range(21))


@pytest.mark.parametrize("shape", [(61, 87), (87, 61), (46, 46), (20, 33)])
def test_evaluation_is_resize_and_centre_crop(shape):
    image = picture(*shape)
    ours = images_of(EvaluationTransform(40), [image], [(0, 0)])[0]
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    expected = reference.center_crop(reference.resize(tensor, [46], antialias=True), [40, 40])
    assert (ours.int() - expected.int()).abs().max() <= 1


def test_impossible_crops_are_refused():
    with pytest.raises(InputError, match=r"--data\.crop_scale.*0\.5 and 0\.2"):
        TrainTransform(32, 0, crop_scale=(0.5, 0.2))
    with pytest.raises(InputError, match=r"--data\.crop:.*'centre'"):
        TrainTransform(32, 0, crop="centre")
