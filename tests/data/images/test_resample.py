"""One pass that cuts, scales and mirrors, against torchvision's separate steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from fghash.data.images.device import crop_by_tensors, uncut
from fghash.data.images.resample import Cut, cut_out, scaled, scaled_shape
from fghash.data.images.transforms import cut_batch


def picture(height: int = 61, width: int = 87) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


CUTS = [
    Cut(0, 0, 61, 87),
    Cut(5, 7, 20, 30),
    Cut(5, 7, 20, 30, mirror=True),
    Cut(0, 60, 61, 27, mirror=True),
    Cut(60, 0, 1, 87),
    Cut(3, 2, 1, 1),
    Cut(10, 10, 32, 32),
    Cut(10, 10, 32, 32, mirror=True),
    Cut(0, 0, 2, 87),
]


def expected(image: np.ndarray, cut: Cut, size: int) -> torch.Tensor:
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    result = reference.resized_crop(tensor, *cut[:4], [size, size], antialias=True)
    return (result.flip(-1) if cut.mirror else result).int()


@pytest.mark.parametrize("cut", CUTS)
def test_cut_is_torchvisions_resized_crop(cut: Cut):
    out = np.empty((3, 32, 32), np.uint8)
    cut_out(picture(), cut, out)
    assert (torch.from_numpy(out).int() - expected(picture(), cut, 32)).abs().max() <= 1


@pytest.mark.parametrize("size", [8, 32, 61])
def test_whole_batches_on_a_device_are_the_same(size: int):
    pictures = [picture(), picture(70, 90), *[picture()] * (len(CUTS) - 2)]
    there = uncut(pictures, CUTS, size)
    assert torch.equal(crop_by_tensors(there), cut_batch(pictures, CUTS, size))


def test_any_crop_of_any_size_is_the_same_on_a_device():
    random = np.random.default_rng(1)
    for size in (1, 8, 33, 96):
        pictures = [picture(*random.integers(1, 300, size=2)) for _ in range(40)]
        cuts = []
        for each in pictures:
            top, left = (int(random.integers(n)) for n in each.shape[:2])
            height, width = each.shape[0] - top, each.shape[1] - left
            cuts.append(Cut(top, left, int(random.integers(height)) + 1, width, bool(random.integers(2))))
        assert torch.equal(uncut(pictures, cuts, size).crop(), cut_batch(pictures, cuts, size))


def test_read_only_and_strided_pictures():
    fixed = picture()
    fixed.flags.writeable = False
    first, second = np.empty((2, 3, 32, 32), np.uint8)
    cut_out(fixed, CUTS[1], first)
    cut_out(np.asfortranarray(fixed), CUTS[1], second)
    assert (first == second).all()


@pytest.mark.parametrize("shape", [(61, 87), (87, 61), (46, 46), (20, 333), (300, 7)])
def test_the_short_side_is_scaled_as_torchvision_does(shape: tuple[int, int]):
    image = picture(*shape)
    result = scaled(image, scaled_shape(*shape, 46))
    wanted = reference.resize(torch.from_numpy(image).permute(2, 0, 1), [46], antialias=True)
    assert result.shape == (*wanted.shape[1:], 3)
    assert (torch.from_numpy(result).permute(2, 0, 1).int() - wanted.int()).abs().max() <= 1


def test_a_picture_of_the_wanted_size_is_left_alone():
    image = picture()
    assert scaled(image, (61, 87)) is image
