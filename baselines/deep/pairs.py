"""What losses over pairs and classes share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fghash.layers.similarity import shared_label

from ..shallow.projections import signs


def similar_and_other(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs (b, b) of different items share a label, and which do not; no item with itself."""
    alike = shared_label(labels)
    different = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return alike & different, ~alike & different


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen values; 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def gap_to_signs(u: Tensor) -> Tensor:
    """Mean of (u - sign(u))^2, with 0 on the side of +1."""
    return (u - signs(u)).square().mean()


def gap_to_one(u: Tensor) -> Tensor:
    """Mean of (|u| - 1)^2: as the gap to the signs, with a gradient of its own at 0."""
    return (u.abs() - 1).square().mean()


def class_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (b,) or multi-hot (b, classes) as shares of 1, (b, classes) float32."""
    hot = functional.one_hot(labels, num_classes) if labels.ndim == 1 else labels
    hot = hot.float()
    return hot / hot.sum(1, keepdim=True).clamp_min(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of (b, classes) with classes (b,), or with multi-hot labels shared equally."""
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels)
    return functional.cross_entropy(logits, class_shares(labels, logits.shape[1]).to(logits.dtype))
