"""OrthoHash: one loss for all (Hoe, Ng, Zhang, Chan, Song and Xiang, NeurIPS 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .centres import Centres, hash_centres
from .hash_layer import HashLayerMethod
from .pairs import class_shares


def margin_cosine(u: Tensor, labels: Tensor, centres: Tensor, scale: float, margin: float) -> Tensor:
    """Cross-entropy of scale (cos(u, centre) - margin at the own class) (eq. 6), scalar.

    ``centres`` (classes, bits); several labels share an item equally (official code).
    """
    cosines = functional.normalize(u) @ functional.normalize(centres.to(u.dtype)).T
    shares = class_shares(labels, len(centres)).to(u.dtype)
    return functional.cross_entropy(scale * (cosines - margin * (shares > 0)), shares)


class OrthoHash(HashLayerMethod):
    """Cosine to the own class's hash centre, by a margin; outputs are balanced by batch normalisation.

    Args:
        centres: ``random`` (official code: Bernoulli) or ``hadamard`` where the bits allow it.
        scale: s (official code: 8).
        margin: m (official code: 0.2).
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    centres: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        centres: Centres = "random",
        scale: float = 8.0,
        margin: float = 0.2,
        input_norm: InputNorm = "none",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 < scale <= 1e6, "scale", scale, "numbers above 0, up to 1e6")
        require(0 <= margin <= 2, "margin", margin, "numbers from 0 to 2")
        self.scale, self.margin = scale, margin
        self.balance = nn.BatchNorm1d(bits)
        self.register_buffer("centres", hash_centres(num_classes, bits, centres))

    def activation(self, values: Tensor) -> Tensor:
        """Batch normalisation, which balances the bits."""
        balanced: Tensor = self.balance(values)
        return balanced

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The one loss."""
        return {"cosine": margin_cosine(u, labels, self.centres, self.scale, self.margin)}
