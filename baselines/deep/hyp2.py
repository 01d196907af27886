"""HyP2: hybrid proxy and pairs (Xu, Chai, Xu, Yuan, Fan and Wang, ACM Multimedia 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.layers.heads import InputNorm
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .hash_layer import HashLayerMethod
from .pairs import class_shares, mean_over


def code_threshold(bits: int, num_classes: int) -> float:
    """1 - 2 d / bits, the cosine of codes at distance d: the largest that the Griesmer bound allows a linear
    code with a word for each class.

    The authors read the distance from a table of the best codes known; the bound is met by most short ones.

    >>> code_threshold(16, 32), code_threshold(48, 200)
    (0.0, 0.1666...)
    """
    k = max(1, math.ceil(math.log2(num_classes)))
    reached = [d for d in range(1, bits + 1) if sum(-(-d // 2**i) for i in range(k)) <= bits]
    return 1 - 2 * max(reached, default=0) / bits


def proxy_loss(u: Tensor, hot: Tensor, proxies: Tensor, threshold: float) -> Tensor:
    """Mean of 1 - cos to own proxies plus mean of max(cos - threshold, 0) to the others' (eq. 3), scalar.

    ``hot`` (b, classes) booleans, ``proxies`` (classes, bits).
    """
    cosines = functional.normalize(u) @ functional.normalize(proxies).T
    return mean_over(1 - cosines, hot) + mean_over(functional.relu(cosines - threshold), ~hot)


def irrelevant_pairs(u: Tensor, hot: Tensor, threshold: float) -> Tensor:
    """Mean of max(cos - threshold, 0) over pairs without a common label, of items with several (eq. 5)."""
    several = hot.sum(1) > 1
    hot, directions = hot[several].to(u.dtype), functional.normalize(u[several])
    return mean_over(functional.relu(directions @ directions.T - threshold), hot @ hot.T == 0)


class HyP2(HashLayerMethod):
    """A learned proxy for each class; with several labels an item also irrelevant pairs.

    Args:
        threshold: zeta, a cosine; ``null`` is that of a good code of this length with a word for each class.
        beta: weight of the irrelevant pairs (official code: 0.5).
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        threshold: float | None = None,
        beta: float = 0.5,
        input_norm: InputNorm = "bn",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, input_norm)
        require(threshold is None or -1 <= threshold <= 1, "threshold", threshold, "-1 to 1, or null")
        require(0 <= beta <= 1e6, "beta", beta, "numbers from 0 to 1e6")
        self.threshold = code_threshold(bits, num_classes) if threshold is None else threshold
        self.beta = beta
        self.proxies = nn.Parameter(nn.init.kaiming_normal_(torch.empty(num_classes, bits), mode="fan_out"))

    def terms(self, u: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Proxies, and pairs where items have several labels."""
        hot = class_shares(labels, len(self.proxies)) > 0
        terms = {"proxies": proxy_loss(u, hot, self.proxies, self.threshold)}
        if labels.ndim > 1:
            terms["pairs"] = self.beta * irrelevant_pairs(u, hot, self.threshold)
        return terms
