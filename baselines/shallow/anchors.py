"""Kernel features: nearness to anchors, drawn from the training items. KSH and SDH work on them."""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Features
from fghash.layers.requirements import require
from fghash.methods.closed_form import ClosedFormMethod
from fghash.settings.config import OptimConfig

_RIDGE = 1e-6  # of the mean diagonal, so that a Gram matrix of kernel features has an inverse


def draw_anchors(x: Tensor, count: int) -> Tensor:
    """Items of ``x`` (n, d), ``count`` of them and no more than there are, from torch's generator."""
    return x[torch.randperm(len(x))[:count]]


def mean_squared_distance(x: Tensor, anchors: Tensor) -> float:
    """Mean squared distance between items and anchors, the scale of the kernel."""
    return max(float(torch.cdist(x, anchors).square().mean()), 1e-12)


def kernel(x: Tensor, anchors: Tensor, scale: float | Tensor) -> Tensor:
    """exp(-|x - a|^2 / (2 scale)), (n, anchors), of items (n, d)."""
    squares = x.square().sum(1)[:, None] + anchors.square().sum(1)[None, :] - 2 * x @ anchors.T
    return torch.exp(-squares.clamp_min(0) / (2 * scale))


def gram_factor(phi: Tensor) -> Tensor:
    """The Cholesky factor (m, m) of phi^T phi of kernel features (n, m), slightly regularised."""
    gram = phi.T @ phi
    gram += _RIDGE * gram.diagonal().mean().clamp_min(1e-300) * torch.eye(len(gram), dtype=gram.dtype)
    factor: Tensor = torch.linalg.cholesky(gram)
    return factor


class KernelMethod(ClosedFormMethod):
    """Linear functions of centred kernel features; a method says which, in :meth:`projected`.

    Args:
        normalise: divide every vector by its length before it is centred.
        anchors: of the kernel; no more than there are training items.
    """

    anchors: Tensor
    scale: Tensor
    centre: Tensor
    projection: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        normalise: bool,
        anchors: int,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise)
        require(1 <= anchors <= 100_000, "anchors", anchors, "1 to 100000")
        self.n_anchors = anchors
        self.register_buffer("anchors", torch.randn(1, backbone.width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("centre", torch.zeros(1))
        self.register_buffer("projection", torch.ones(1, bits))

    def projected(self, phi: Tensor, labels: Tensor) -> Tensor:
        """Weights (anchors, bits) of centred kernel features (n, anchors)."""
        raise NotImplementedError

    def learn(self, x: Tensor, labels: Tensor) -> None:
        """Anchors, the kernel's scale, and the functions."""
        chosen = draw_anchors(x, self.n_anchors)
        scale = mean_squared_distance(x, chosen)
        phi = kernel(x, chosen, scale)
        centre = phi.mean(0)
        projection = self.projected(phi - centre, labels)
        self.keep(anchors=chosen, scale=torch.tensor(scale), centre=centre, projection=projection)

    def forward(self, features: Features) -> Tensor:
        """The functions' values (b, bits)."""
        near = kernel(self.inputs(features), self.anchors, self.scale)
        return (near - self.centre) @ self.projection
