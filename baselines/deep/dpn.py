"""DPN: deep polarized network (Fan, Ng, Ju, Zhang and Chan, IJCAI 2020)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .centres import centres_of, hash_centres
from .hash_layer import HashLayerMethod


def polarisation(u: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Mean over items and bits of max(m - u t, 0) with targets t of -1 and 1 (eq. 5), scalar."""
    return functional.relu(margin - u * targets).mean()


class DPN(HashLayerMethod):
    """Each bit of an item on its class's side, by a margin; the classes' codes are drawn at random.

    Args:
        margin: m (paper: 1).
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
        margin: float = 1.0,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(0 < margin <= 1e6, "margin", margin, "numbers above 0, up to 1e6")
        self.margin = margin
        self.register_buffer("centres", hash_centres(num_classes, bits, "random"))

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The polarisation loss."""
        return {"polarisation": polarisation(u, centres_of(labels, self.centres), self.margin)}
