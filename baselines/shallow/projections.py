"""Linear projections that several shallow methods start from."""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.errors import InputError


def refuse_more_bits_than(width: int, bits: int, method: str) -> None:
    """Refuse codes longer than the features are wide, where every bit needs a direction of its own.

    Raises:
        InputError: naming the width.
    """
    if bits > width:
        raise InputError(f"bits: {bits} does not suit {method} (allowed: up to {width}, the features' width)")


def principal_directions(x: Tensor, count: int) -> Tensor:
    """The ``count`` directions (width, count) of greatest variance of centred ``x`` (n, width), greatest
    first.
    """
    _, vectors = torch.linalg.eigh(x.T @ x)
    directions: Tensor = vectors.flip(1)[:, :count]
    return directions


def canonical_directions(x: Tensor, targets: Tensor, count: int, regularisation: float) -> Tensor:
    """Directions (width, count) along which ``x`` (n, width) and ``targets`` (n, c) correlate most, each
    scaled by its correlation (canonical correlation analysis; Gong and Lazebnik 2011, section 4).

    There are no more than ``c`` correlations; further directions are zero. ``regularisation``, of the mean
    variance of each side, is added to the covariances.
    """
    y = targets - targets.mean(0)
    white_x, white_y = (_whitening(side, regularisation) for side in (x, y))
    left, correlations, _ = torch.linalg.svd(white_x @ (x.T @ y) @ white_y, full_matrices=False)
    found = white_x @ left * correlations
    directions = x.new_zeros(x.shape[1], count)
    kept = min(count, found.shape[1])
    directions[:, :kept] = found[:, :kept]
    return directions


def _whitening(side: Tensor, regularisation: float) -> Tensor:
    """The inverse square root of the regularised scatter matrix of ``side`` (n, d)."""
    scatter = side.T @ side
    mean = scatter.diagonal().mean().clamp_min(torch.finfo(side.dtype).tiny)
    values, vectors = torch.linalg.eigh(scatter / mean)
    root: Tensor = (vectors * (values.clamp_min(0) + regularisation).rsqrt()) @ vectors.T / mean.sqrt()
    return root


def random_rotation(size: int) -> Tensor:
    """An orthogonal matrix (size, size) in float64, from torch's generator."""
    rotation: Tensor = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]
    return rotation


def nearest_rotation(source: Tensor, target: Tensor) -> Tensor:
    """The orthogonal R that brings ``source @ R`` closest to ``target`` (orthogonal Procrustes)."""
    left, _, right = torch.linalg.svd(source.T @ target)
    rotation: Tensor = left @ right
    return rotation


def signs(values: Tensor) -> Tensor:
    """-1 and 1, with 0 as 1, as :meth:`BinaryCodes.from_signs` has it."""
    return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (n,) or multi-hot (n, classes) as float64 (n, classes)."""
    if labels.ndim == 1:
        return torch.nn.functional.one_hot(labels, num_classes).double()
    return labels.double()
