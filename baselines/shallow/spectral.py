"""SH: spectral hashing (Weiss, Torralba and Fergus, NIPS 2008)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.methods.closed_form import ClosedFormMethod
from fghash.settings.config import OptimConfig

from .projections import principal_directions


def lowest_frequencies(extents: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` eigenfunctions of lowest frequency of a box with these side lengths (d,).

    For a uniform distribution on the box the eigenfunctions of its Laplacian along one side of length L are
    cos(pi k x / L), with eigenvalue (pi k / L)^2, k = 1, 2, ... (section 3.1; the constant ones are left out,
    products of several sides have larger eigenvalues than their factors).

    Returns:
        The side (count,) and the frequency pi k / L (count,) of each, lowest first.
    """
    modes = torch.arange(1, count + 1, dtype=extents.dtype)
    frequencies = math.pi * modes[None, :] / extents.clamp_min(1e-12)[:, None]
    order = frequencies.flatten().argsort(stable=True)[:count]
    return order // count, frequencies.flatten()[order]


class SpectralHashing(ClosedFormMethod):
    """Signs of sinusoids along the principal directions, the slowest ones first.

    Args:
        normalise: divide every vector by its length before it is centred.
    """

    directions: Tensor
    lowest: Tensor
    sides: Tensor
    frequencies: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise)
        kept = min(bits, backbone.width)
        self.register_buffer("directions", torch.eye(backbone.width, kept))
        self.register_buffer("lowest", torch.zeros(kept))
        self.register_buffer("sides", torch.arange(bits) % kept)
        self.register_buffer("frequencies", torch.ones(bits))

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """The principal directions, the box that holds the items there, its slowest eigenfunctions."""
        directions = principal_directions(x, min(self.bits, x.shape[1]))
        projected = x @ directions
        lowest, highest = projected.amin(0), projected.amax(0)
        sides, frequencies = lowest_frequencies(highest - lowest, self.bits)
        self.keep(directions=directions, lowest=lowest, sides=sides, frequencies=frequencies)

    def forward(self, features: Features) -> Tensor:
        """The eigenfunctions' values (b, bits)."""
        projected = self.inputs(features) @ self.directions - self.lowest
        return torch.cos(projected[:, self.sides] * self.frequencies)
