"""Hash centres: a code for each class that its items are drawn to."""

from __future__ import annotations

from typing import Literal

import torch
from scipy.linalg import hadamard
from torch import Tensor

from fghash.layers.requirements import require

from ..shallow.projections import signs

Centres = Literal["hadamard", "random"]
_DRAWS = 20  # of a random centre; the one that is farthest from its nearest neighbour stays


def hash_centres(num_classes: int, bits: int, kind: Centres) -> Tensor:
    """Codes (classes, bits) of -1 and 1, from torch's generator.

    ``hadamard``: rows of a Hadamard matrix and their opposites, bits / 2 or more apart (CSQ, section 3.1),
    where bits is a power of two and there are enough of them, else ``random``: balanced codes, each the
    farthest of 20 from those before.
    """
    require(kind in ("hadamard", "random"), "centres", kind, "hadamard or random")
    if kind == "hadamard" and bits & (bits - 1) == 0 and num_classes <= 2 * bits:
        rows = torch.from_numpy(hadamard(bits).astype("float32"))
        return torch.cat([rows, -rows])[:num_classes]
    return _random_centres(num_classes, bits)


def _random_centres(num_classes: int, bits: int) -> Tensor:
    centres = torch.zeros(0, bits)
    for _ in range(num_classes):
        half = torch.where(torch.arange(bits) < bits // 2, 1.0, -1.0)
        drawn = torch.stack([half[torch.randperm(bits)] for _ in range(_DRAWS)])
        nearest = (drawn @ centres.T).amax(1) if len(centres) else torch.zeros(_DRAWS)
        centres = torch.cat([centres, drawn[nearest.argmin()][None]])
    return centres


def centres_of(labels: Tensor, centres: Tensor) -> Tensor:
    """The centre (b, bits) of each item's class; of several labels the bitwise majority, a draw being +1."""
    if labels.ndim == 1:
        return centres[labels]
    return signs(labels.to(centres.dtype) @ centres)
