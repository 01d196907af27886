"""ADSH: Asymmetric Deep Supervised Hashing (Jiang and Li; AAAI 2018).

u = tanh(W pooled features + b) for a sampled subset, free codes v for all training items, optimised in turns
by ``fghash.layers.asymmetric``. ExchNet without parts and without exchange.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import BinaryCodes, RealCodes
from fghash.layers.asymmetric import Alternation
from fghash.layers.heads import InputNorm, PooledLinear, start_small
from fghash.layers.precision import at_least_float32
from fghash.methods.alternating import AlternatingMethod
from fghash.settings.config import OptimConfig


class ADSH(AlternatingMethod):
    """ADSH on any backbone.

    Args:
        quantisation_weight: gamma, of |v - u|^2 over the subset.
        subset: m, items of an outer iteration; never more than half of all.
        inner: inner epochs of an outer iteration, as a fraction of all epochs.
        scaled: multiply the loss by 12 / bits, as ExchNet does; the official code does not.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        quantisation_weight: float = 200.0,
        subset: int = 2000,
        inner: float = 0.05,
        scaled: bool = True,
        input_norm: InputNorm = "none",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.head = PooledLinear(backbone.width, bits, input_norm)
        start_small(self.head.linear)
        self.alternation = Alternation(bits, subset, inner, gamma=quantisation_weight, scaled=scaled)

    def forward(self, features: Features) -> Tensor:
        """The real values (b, bits) whose signs are the code."""
        values: Tensor = self.head(features.vector)
        return values

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of the hash layer."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """u = tanh of the hash layer, compared by cosine."""
        return RealCodes(torch.tanh(self(features).float()).numpy(force=True), "cosine")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The asymmetric objective of the global batch against the codes of all training items."""
        together, outputs = self.gather(batch, torch.tanh(at_least_float32(self(batch.features))))
        return self.alternation.terms(outputs, together)
