"""State whose size depends on the data: known only when a checkpoint brings it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def take_sizes(
    module: nn.Module, names: Iterable[str], state_dict: Mapping[str, Tensor], prefix: str
) -> None:
    """Give the module's buffers of these names the sizes that they have in ``state_dict``.

    Called in ``_load_from_state_dict``, before torch compares the sizes; types and device stay.
    """
    for name in names:
        saved, own = state_dict.get(prefix + name), getattr(module, name)
        if saved is not None and saved.shape != own.shape:
            setattr(module, name, torch.empty_like(saved, dtype=own.dtype, device=own.device))
