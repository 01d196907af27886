"""Losses are computed in float32 at least, whatever the network ran in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Half precisions become float32; float32 and float64 stay what they are.

    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_float32(torch.ones(1, dtype=torch.float64)).dtype
    torch.float64
    """
    return values if values.dtype == torch.float64 else values.float()


def full_precision(values: Tensor) -> torch.autocast:
    """A context without autocast, for what half precision would decide otherwise."""
    return torch.autocast(device_type=values.device.type, enabled=False)
