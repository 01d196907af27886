"""ITQ: iterative quantization (Gong and Lazebnik, CVPR 2011), without labels and with CCA."""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.layers.requirements import require
from fghash.methods.closed_form import ClosedFormMethod
from fghash.settings.config import OptimConfig

from .projections import (
    canonical_directions,
    nearest_rotation,
    one_hot,
    principal_directions,
    random_rotation,
    refuse_more_bits_than,
    signs,
)


def quantisation_error(v: Tensor, rotation: Tensor) -> float:
    """|sign(VR) - VR|^2, what ITQ minimises (eq. 2 with the best B)."""
    rotated = v @ rotation
    return float((signs(rotated) - rotated).square().sum())


def rotate(v: Tensor, iterations: int) -> Tensor:
    """The rotation R (bits, bits) of projected items ``v`` (n, bits) that brings them close to their signs.

    In turns B = sign(VR) and the nearest rotation of V to B (section 3.1), from a random one; the error never
    increases.
    """
    rotation = random_rotation(v.shape[1])
    for _ in range(iterations):
        rotation = nearest_rotation(v, signs(v @ rotation))
    return rotation


class ITQ(ClosedFormMethod):
    """PCA, then a rotation that brings the projections close to their signs.

    Args:
        normalise: divide every vector by its length before it is centred.
        iterations: of the rotation (paper: 50).
    """

    named = "itq"
    projection: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        iterations: int = 50,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise)
        require(0 <= iterations <= 10_000, "iterations", iterations, "0 to 10000")
        refuse_more_bits_than(backbone.width, bits, self.named)
        self.iterations = iterations
        self.register_buffer("projection", torch.eye(backbone.width, bits))

    def directions(self, x: Tensor, labels: Tensor) -> Tensor:
        """What is rotated: the principal directions (width, bits)."""
        return principal_directions(x, self.bits)

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """Directions, then their rotation."""
        directions = self.directions(x, labels)
        self.keep(projection=directions @ rotate(x @ directions, self.iterations))

    def forward(self, features: Features) -> Tensor:
        """The rotated projections (b, bits)."""
        return self.inputs(features) @ self.projection


class ITQCCA(ITQ):
    """ITQ on the directions that correlate most with the classes.

    Beyond as many bits as there are classes CCA has no directions; the rotation then spreads what there is
    over all bits, as in the authors' code.

    Args:
        normalise: divide every vector by its length before it is centred.
        iterations: of the rotation (paper: 50).
        regularisation: added to the covariances, of the mean variance (authors' code: 1e-4, absolute).
    """

    named = "itq_cca"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        iterations: int = 50,
        regularisation: float = 0.1,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise=normalise, iterations=iterations)
        require(0 < regularisation <= 1e6, "regularisation", regularisation, "numbers above 0, up to 1e6")
        self.regularisation = regularisation

    def directions(self, x: Tensor, labels: Tensor) -> Tensor:
        """The canonical directions, scaled by their correlations."""
        return canonical_directions(x, one_hot(labels, self.num_classes), self.bits, self.regularisation)
