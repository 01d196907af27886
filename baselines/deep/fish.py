"""FISH: fine-grained hashing with double filtering (Chen, Luo, Wang, Guo and Xu, TIP 2022).

Targets: codes of the training items found from their labels alone before training. Double filtering: the
map's strong places count in full and the others by half before pooling; of the class scores the highest
counts in full and the others less before the hash layer. A second pass without the strongest place learns to
use the rest. Official code read; there the place is erased in the image, here in the map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.codes import BinaryCodes, RealCodes
from fghash.layers.asymmetric import random_words
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.requirements import require
from fghash.layers.resizing import take_sizes
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig

from ..shallow.projections import nearest_rotation, one_hot, signs
from .pairs import cross_entropy

_ERASE = 5  # what random words are drawn for, beside those of the house


def codes_of_labels(y: Tensor, bits: int, seed: int, iterations: int = 15, delta: float = 1e-4) -> Tensor:
    """Codes (n, bits) of -1 and 1 of labels Y (n, classes), as the official code finds them.

    In turns B = sign(V R), U = argmin |Y - V U|, V = argmin |Y - V U|^2 + delta |B - V R|^2 and the rotation
    R that brings V closest to B. V starts with a draw for each class; the official code draws for each item,
    which leaves noise within a class where there are more bits than classes.
    """
    generator = torch.Generator().manual_seed(seed)
    v, start = (y @ torch.randn(y.shape[1], bits, generator=generator, dtype=torch.float64) for _ in range(2))
    rotation = nearest_rotation(v, signs(start))
    for _ in range(iterations):
        codes = signs(v @ rotation)
        u = torch.linalg.pinv(v.T @ v) @ v.T @ y
        gram = u @ u.T + delta * torch.eye(bits, dtype=torch.float64)
        v = (y @ u.T + delta * codes @ rotation.T) @ torch.linalg.pinv(gram)
        rotation = nearest_rotation(v, codes)
    return codes


def strong_places(maps: Tensor, weak: float) -> Tensor:
    """Weights (b, 1, h, w): 1 where a map's sum over channels is above its mean, ``weak`` below, 0 on it."""
    attention = maps.detach().sum(1, keepdim=True)
    mean = attention.mean((2, 3), keepdim=True)
    return (attention > mean).to(maps.dtype) + weak * (attention < mean).to(maps.dtype)


def without_strongest(maps: Tensor, thresholds: Tensor) -> Tensor:
    """Maps (b, c, h, w) with the places at or above a part (b,) of the greatest attention set to 0."""
    attention = maps.detach().sum(1, keepdim=True)
    limits = thresholds[:, None, None, None].to(maps.dtype) * attention.amax((2, 3), keepdim=True)
    return maps * (attention < limits)


def filtered_scores(scores: Tensor, rate: float) -> Tensor:
    """Class scores (b, classes), all but the highest times ``rate``."""
    highest = functional.one_hot(scores.argmax(1), scores.shape[1]).to(scores.dtype)
    return scores * (rate + (1 - rate) * highest)


class FISH(HashingMethod):
    """FISH on the level-4 map.

    Args:
        weak: weight of the places below the mean (official code: 0.5).
        rate: weight of the class scores below the highest (official code: 0.7).
        erase_weight: of the classification without the strongest places (official code: 1).
        code_weight: of the distance to the codes of the labels (official code: 1).
    """

    reads = Reads(levels=(4,))
    codes: Tensor
    seed: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        weak: float = 0.5,
        rate: float = 0.7,
        erase_weight: float = 1.0,
        code_weight: float = 1.0,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        require(0 <= weak <= 1, "weak", weak, "0 to 1")
        require(0 <= rate <= 1, "rate", rate, "0 to 1")
        for name, weight in (("erase_weight", erase_weight), ("code_weight", code_weight)):
            require(0 <= weight <= 1e6, name, weight, "numbers from 0 to 1e6")
        self.weak, self.rate = weak, rate
        self.erase_weight, self.code_weight = erase_weight, code_weight
        self.classifier = nn.Linear(backbone.channels[3], num_classes)
        self.hash = nn.Linear(num_classes, bits)
        self.register_buffer("codes", torch.empty(0, bits))
        self.register_buffer("seed", torch.tensor(torch.initial_seed() % 2**31))
        self._thresholds: Tensor | None = None  # of all items for this epoch

    def train_sampler(self, labels: np.ndarray) -> Sampler[int] | None:
        """The data's own order; here the codes of the labels are found, unless a checkpoint brought them."""
        if len(self.codes) != len(labels):
            targets = one_hot(torch.as_tensor(labels), self.num_classes)
            self.codes = codes_of_labels(targets, self.bits, int(self.seed)).to(self.codes)
        return None

    def learned_codes(self) -> BinaryCodes | None:
        """The codes of the labels, which the official evaluation has as gallery."""
        return BinaryCodes.from_signs(self.codes) if len(self.codes) else None

    def scores(self, maps: Tensor) -> Tensor:
        """Class scores (b, classes) of maps (b, c, h, w), strong places in full."""
        pooled = (maps * strong_places(maps, self.weak)).mean((2, 3))
        return at_least_float32(self.classifier(pooled))

    def forward(self, features: Features) -> Tensor:
        """The real values (b, bits) whose signs are the code."""
        return at_least_float32(self.hash(filtered_scores(self.scores(features.maps[4]), self.rate)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Classification with all and without the strongest places, distance to the codes of the labels."""
        maps = batch.features.maps[4]
        scores = self.scores(maps)
        values = at_least_float32(self.hash(filtered_scores(scores, self.rate)))
        erased = self.scores(without_strongest(maps, self.thresholds()[batch.index]))
        together, scores, values, erased = self.gather(batch, scores, values, erased)
        with full_precision(values):
            distance = (values - self.codes[together.index].to(values.dtype)).square().mean()
            return {
                "classification": cross_entropy(scores, together.labels),
                "erased": self.erase_weight * cross_entropy(erased, together.labels),
                "codes": self.code_weight * distance,
            }

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of the hash layer."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """The hash layer's values, compared by cosine."""
        return RealCodes(self(features).float().numpy(force=True), "cosine")

    def on_train_epoch_start(self) -> None:
        """Draw the epoch's thresholds."""
        self._thresholds = None
        self.thresholds()

    def thresholds(self) -> Tensor:
        """From 0.9 to 1 for each training item (n,), by seed, epoch and item alone."""
        if self._thresholds is None or len(self._thresholds) != len(self.codes):
            epoch = self.current_epoch if self.trainer_or_none() else 0
            words = random_words(len(self.codes), _ERASE, epoch, int(self.seed))
            drawn = 0.9 + 0.1 * (words >> np.uint64(11)).astype(np.float64) / 2**53
            self._thresholds = torch.from_numpy(drawn).to(self.codes)
        return self._thresholds

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: object) -> None:
        """Take the sizes of the checkpoint: how many items there are is not known before."""
        take_sizes(self, ("codes",), state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)
