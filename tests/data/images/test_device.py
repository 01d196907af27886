"""The text of the GPU's cropping kernel, run on the CPU, against the loader's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cuda_on_cpu import build, needs_gxx, pointers
from fghash.data.images.device import _SOURCE, uncut
from fghash.data.images.resample import Cut
from fghash.data.images.transforms import cut_batch

FUNCTIONS = """
extern "C" void crops(int w, int h, int d, int threads, unsigned char* pixels, long long* cuts, int size,
                      unsigned char* out) {
    apart(w, h, d, threads, [=] { crop(pixels, cuts, size, out); });
}
"""


@needs_gxx
@pytest.mark.parametrize("size", [1, 8, 33, 70])
def test_the_gpus_kernel_gives_the_loaders_bytes(size: int, tmp_path: Path) -> None:
    random = np.random.default_rng(size)
    pictures, cuts = [], []
    for _ in range(30):
        height, width = (int(n) for n in random.integers(1, 200, size=2))
        pictures.append(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        top, left = int(random.integers(height)), int(random.integers(width))
        rest = int(random.integers(height - top)) + 1, int(random.integers(width - left)) + 1
        cuts.append(Cut(top, left, *rest, bool(random.integers(2))))
    batch = uncut(pictures, cuts, size)
    out = torch.empty((len(cuts), 3, size, size), dtype=torch.uint8)
    library = build(tmp_path, "crop", _SOURCE.read_text(), FUNCTIONS)
    library.crops(-(-size // 64), size, len(cuts), 64, *pointers([batch.pixels, batch.cuts, size, out]))
    assert torch.equal(out, cut_batch(pictures, cuts, size))
