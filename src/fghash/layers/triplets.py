"""The triplet loss over all triplets of a batch, without ever listing them."""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.similarity import shared_label


def default_margin(bits: int) -> float:
    """q / 4 + 4: fits both margins that the lab of FPH used, 8 at 16 bits and 20 at 64.

    >>> default_margin(16), default_margin(64)
    (8.0, 20.0)
    """
    return bits / 4 + 4


def triplet_loss(outputs: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean of relu(|u_a - u_p|^2 - |u_a - u_n|^2 + margin) over the triplets of a batch, scalar.

    Triplets are all pairs a < p (positions in the batch) that share a label, times all n that share none with
    a; those without loss count in the mean (zhongzhh8/Image-Retrieval). 0 if there is no triplet.

    The hinge is linear where it is active, so the sum needs only, per pair, how many triplets it is active
    in. Two sorted searches count these: memory is that of the distances, (b, b), not of the triplets.

    Args:
        outputs: (b, q) relaxed codes.
        labels: (b,) classes or (b, classes) multi-hot.
        margin: in squared distance; two codes of -1 and +1 that differ in h bits are 4 h apart.
    """
    with full_precision(outputs):
        outputs = at_least_float32(outputs)
        squares = outputs.square().sum(1)
        distances = squares[:, None] + squares[None, :] - 2 * outputs @ outputs.T
    alike = shared_label(labels)
    positive, negative = alike.triu(1), ~alike
    reach = distances + margin
    closer, farther = _active(reach.detach(), distances.detach(), positive, negative)
    triplets = (positive.sum(1) * negative.sum(1)).sum().clamp_min(1)
    return ((closer * reach).sum() - (farther * distances).sum()) / triplets


def _active(reach: Tensor, distances: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """For each (a, p) the number of negatives within reach, for each (a, n) that of positives reaching it."""
    nothing = torch.finfo(distances.dtype).max
    farness = distances.masked_fill(~negative, nothing)
    reaches = reach.masked_fill(~positive, -nothing)
    closer = torch.searchsorted(farness.sort(1).values, reaches) * positive
    farther = (reaches.shape[1] - torch.searchsorted(reaches.sort(1).values, farness, right=True)) * negative
    return closer, farther
