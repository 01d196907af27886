"""Which items are similar: the one rule of relevance on the training side."""

from __future__ import annotations

from torch import Tensor


def shared_label(labels: Tensor, others: Tensor | None = None) -> Tensor:
    """Whether two items share a label, (n, m) booleans.

    ``labels`` (n,) integers or (n, classes) multi-hot, ``others`` (m,) or (m, classes) of the same kind, by
    default ``labels`` itself.

    >>> import torch
    >>> shared_label(torch.tensor([0, 1, 0])).int().tolist()
    [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    others = labels if others is None else others
    if labels.ndim == 1:
        return labels[:, None] == others[None, :]
    return labels.float() @ others.float().T > 0
