"""The terms of PHPQ's loss (a reconstruction: the paper's own objective is unknown)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fghash.layers.quantizers import unit

Detach = Literal["none", "features", "words"]


def class_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean softmax cross-entropy of scores (b, classes) with labels (b,) or multi-hot (b, classes).

    Several labels of an item share its probability equally; an item without any adds 0.
    """
    if labels.ndim == 1:
        return functional.cross_entropy(scores, labels)
    targets = labels.to(scores.dtype)
    return functional.cross_entropy(scores, targets / targets.sum(dim=1, keepdim=True).clamp(min=1))


def commitment(real: Tensor, hard: Tensor, detach: Detach = "none") -> Tensor:
    """Mean squared distance of sub-vectors and their codewords (b, m, d); ``detach`` shields one side from
    it.
    """
    real = real.detach() if detach == "features" else real
    hard = hard.detach() if detach == "words" else hard
    return (real - hard).square().sum(dim=-1).mean()


def entropy(attention: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean entropy, in nats, of attention (b, m, k); ``eps`` makes the codewords outside it count 0, not
    NaN.
    """
    return -(attention * (attention + eps).log()).sum(dim=-1).mean()


def asymmetric_triplet(real: Tensor, code: Tensor, similar: Tensor, margin: float) -> Tensor:
    """Mean hinge of the triplets that violate the margin; 0 where there is none.

    Anchors are ``real`` vectors (b, n), positives and negatives ``code`` vectors (b, n), compared by cosine;
    ``similar`` (b, b) says which items share a label. An item is not its own positive.
    """
    cosines = unit(real) @ unit(code).T
    positive = similar & ~torch.eye(len(similar), dtype=torch.bool, device=similar.device)
    hinges = (margin - cosines[:, :, None] + cosines[:, None, :]).clamp(min=0)
    hinges = hinges * (positive[:, :, None] & ~similar[:, None, :])
    return hinges.sum() / (hinges > 0).sum().clamp(min=1)
