"""Methods that are fitted to frozen features at once: no loss, no optimiser, no epochs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.codes import BinaryCodes, Codes, RealCodes
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.resizing import take_sizes
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig


class ClosedFormMethod(HashingMethod):
    """Centred features in, values out, whose signs are the code unless :meth:`encode` says otherwise.

    A method writes :meth:`learn` and :meth:`forward`, and keeps what it learns with :meth:`keep`: buffers
    whose sizes may depend on the data.

    Args:
        normalise: divide every vector by its length before it is centred.
    """

    mean: Tensor

    def __init__(
        self, backbone: Backbone, num_classes: int, bits: int, optim: OptimConfig, normalise: bool
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.normalise = normalise
        self.register_buffer("mean", torch.zeros(backbone.width))

    @abstractmethod
    def learn(self, x: Tensor, labels: Tensor) -> None:
        """Learn from centred features (n, width) in float64 and labels (n,) or (n, classes)."""

    @final
    def fit_closed_form(self, features: Tensor, labels: Tensor) -> None:
        """Centre the features, and learn from them."""
        x = self._scaled(features.double())
        self.keep(mean=x.mean(0))
        self.learn(x - self.mean.double(), labels)

    @final
    def inputs(self, features: Features) -> Tensor:
        """The centred features (b, width), as :meth:`learn` had them."""
        return self._scaled(at_least_float32(features.vector)) - self.mean

    @final
    def keep(self, **learned: Tensor) -> None:
        """Keep tensors as buffers of these names, in place of what they held; numbers as float32."""
        for name, value in learned.items():
            kept = value.float() if value.is_floating_point() else value
            self.register_buffer(name, kept.contiguous().to(self.device))

    def encode(self, features: Features) -> Codes:
        """The signs of the values."""
        return BinaryCodes.from_signs(self.code_values(features))

    def code_values(self, features: Features) -> Tensor:
        """The values."""
        with full_precision(features.vector):
            values: Tensor = self(features)
            return values

    def embed(self, features: Features) -> RealCodes | None:
        """The values, compared by cosine."""
        return RealCodes(self.code_values(features).float().numpy(force=True), "cosine")

    def _scaled(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=1) if self.normalise else vectors

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Take the sizes of what was stored: they are not known before."""
        take_sizes(self, [name for name, _ in self.named_buffers(recurse=False)], state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)
