"""Small sets of binary codes with known corners, and equality of tie groups."""

from __future__ import annotations

import numpy as np

from fghash.codes import BinaryCodes
from fghash.evaluation import TieGroups

FIELDS = ("offsets", "nearer", "size", "relevant", "distance")


def same(a: TieGroups, b: TieGroups) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def binary_case(bits: int, multi: bool = False, q: int = 13, g: int = 150):
    random = np.random.default_rng(bits)
    centres = random.random((5, bits)) < 0.5
    kinds = random.integers(5, size=q + g)
    codes = centres[kinds] ^ (random.random((q + g, bits)) < 0.2)
    codes[q + 1] = codes[0]  # equal codes, and opposite ones: distances 0 and bits
    codes[q + 2] = ~codes[0]
    codes[1] = ~codes[0]
    labels = random.random((q + g, 70)) < 0.05 if multi else kinds
    return BinaryCodes(codes[:q]), BinaryCodes(codes[q:]), labels[:q], labels[q:]
