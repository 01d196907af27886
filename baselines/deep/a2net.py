"""A2-Net: attribute-aware hashing (Wei, Shen, Sun, Ye and Yang, NeurIPS 2021).

ExchNet's head without diversity and exchange. One matrix W takes the features of parts and whole to the
code and, transposed, back: in the last part of training the reconstruction of the features and the
decorrelation of the bits make each bit an attribute of its own. Near-official code (DSH_Analysis) read; its
image generators have no part in the loss and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.layers.asymmetric import Alternation
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.requirements import require
from fghash.methods.exchnet import PartsHead
from fghash.methods.refining import RefiningMethod
from fghash.settings.config import OptimConfig


def decorrelation(u: Tensor) -> Tensor:
    """Mean square of U^T U - b I, over b and bits again (near-official code), scalar; U (b, bits)."""
    b, bits = u.shape
    gap = u.T @ u - b * torch.eye(bits, dtype=u.dtype, device=u.device)
    return gap.square().mean() / b / bits


class A2Net(RefiningMethod):
    """A2-Net on the level-3 map.

    Args:
        parts: M, number of attention maps (near-official code: as many as bits).
        quantisation_weight: gamma, of |v - u|^2 (near-official code: 200).
        late: the part of training after which reconstruction and decorrelation are added (near-official code:
            iteration 35 of 50 for both).
        reconstruction_weight: of the mean square between features and their reconstruction.
        decorrelation_weight: of the bits' decorrelation.
        subset: m, items of an outer iteration; never more than half of all.
        inner: inner epochs of an outer iteration, as a fraction of all epochs.
    """

    reads = Reads(levels=(3,))

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        parts: int = 4,
        quantisation_weight: float = 200.0,
        late: float = 0.7,
        reconstruction_weight: float = 1.0,
        decorrelation_weight: float = 1.0,
        subset: int = 2000,
        inner: float = 0.05,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        require(1 <= parts <= 1024, "parts", parts, "1 to 1024")
        require(0 <= late <= 1, "late", late, "parts of the training, 0 to 1")
        weights = {"reconstruction": reconstruction_weight, "decorrelation": decorrelation_weight}
        for name, weight in weights.items():
            require(0 <= weight <= 1e6, f"{name}_weight", weight, "numbers from 0 to 1e6")
        self.weights, self.late = weights, late
        self.head = PartsHead(backbone, bits, parts, "funnel", "relu")
        nn.init.zeros_(self.head.linear.bias)
        self.head.linear.bias.requires_grad_(False)  # W alone, so that its transpose goes back
        backbone.rest_after(3)  # copies of the last stage are trained, itself is never run
        self.alternation = Alternation(bits, subset, inner, gamma=quantisation_weight)
        self._late = False  # known at the start of an epoch, so that no step waits for the device

    def on_train_epoch_start(self) -> None:
        """Begin an outer iteration where one begins, and see whether the last part of training has come."""
        super().on_train_epoch_start()
        self.resume_epoch({})

    def resume_epoch(self, state: dict[str, Any]) -> None:
        """Whether the last part has come."""
        self._late = int(self.alternation.steps) >= self.late * self.alternation.iterations

    def vectors(self, features: Features) -> Tensor:
        """Features of parts and whole side by side, (b, (M + 1) c)."""
        maps, whole = self.head(features.maps[3])
        return at_least_float32(torch.cat([maps.mean(dim=(3, 4)).flatten(1), whole], dim=1))

    def forward(self, features: Features) -> Tensor:
        """The real values (b, bits) whose signs are the code."""
        vectors = self.vectors(features)
        with full_precision(vectors):
            return functional.linear(vectors, self.head.linear.weight.to(vectors.dtype))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ADSH's objective; late in training also reconstruction and decorrelation."""
        vectors = self.vectors(batch.features)
        with full_precision(vectors):
            weight = self.head.linear.weight.to(vectors.dtype)
            u = torch.tanh(functional.linear(vectors, weight))
            rebuilt = (u @ weight - vectors).square().mean(1)
        together, u, rebuilt = self.gather(batch, u, rebuilt)
        terms = self.alternation.terms(u, together)
        if self._late:
            terms["reconstruction"] = self.weights["reconstruction"] * rebuilt.mean()
            terms["decorrelation"] = self.weights["decorrelation"] * decorrelation(u)
        return terms

    def copies(self) -> Iterable[nn.Module]:
        """The stages that refine parts and whole."""
        return (self.head.local, self.head.whole)

    def new_parameters(self) -> Iterable[nn.Parameter]:
        """The attention's and the hash layer's."""
        return [each for each in self.head.new_parameters() if each.requires_grad]
