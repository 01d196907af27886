"""HashNet: deep learning to hash by continuation (Cao, Long, Wang, Yu; ICCV 2017, arXiv 1702.00758).

z = W f + b, g = tanh(beta z) while training, h = sign(z) for codes. The loss is the weighted pairwise
likelihood of
g; beta grows during training so that tanh approaches the sign. Paper and official code differ in the pairs,
the weights and the schedule of beta: each is a switch, with both values.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import BinaryCodes, RealCodes
from fghash.layers.heads import InputNorm, PooledLinear
from fghash.layers.precision import at_least_float32
from fghash.layers.requirements import require
from fghash.layers.similarity import shared_label
from fghash.methods.base import HashingMethod
from fghash.settings.config import OptimConfig

Continuation = Literal["code", "progress", "stages", "none"]
OFFICIAL_STEPS = 10_000  # iterations of the official training, over which its beta grows from 1 to 7.1


def pairwise_loss(
    g: Tensor,
    labels: Tensor,
    alpha: float,
    *,
    pairs: Literal["all", "cross"] = "all",
    class_num: float | None = None,
) -> Tensor:
    """Weighted pairwise negative log-likelihood (paper eq. 4; official ``pairwise_loss``), scalar.

    ``g`` (n, bits) activations in [-1, 1]; ``labels`` (n,) or multi-hot (n, classes). A pair costs
    softplus(a <g, g'>) - s a <g, g'>. ``pairs``: ``all`` pairs of two different items, or ``cross``, the even
    positions of the batch against the odd ones (official code: two independent streams of images).
    ``class_num`` ``None`` weighs both kinds
    of pair alike, mean over similar + mean over dissimilar, which equals the paper's |S|/|S1|, |S|/|S0|
    weights; a
    number weighs similar pairs with it and divides by the sum of weights (official code). A kind of pair
    that the batch lacks contributes 0.
    """
    first, second, similar, counted = _pairs(at_least_float32(g), shared_label(labels), pairs)
    logits = alpha * first @ second.T
    costs = functional.softplus(logits) - similar * logits
    positive, negative = similar * counted, (~similar) * counted
    if class_num is None:
        return _mean(costs, positive) + _mean(costs, negative)
    weights = class_num * positive + negative
    return (weights * costs).sum() / weights.sum().clamp_min(1e-12)


def _pairs(g: Tensor, similar: Tensor, pairs: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left items, right items, whether each pair is similar, and whether it counts (never an item with
    itself).
    """
    n = len(g)
    if pairs == "cross":
        block = similar[0::2, 1::2]
        return g[0::2], g[1::2], block, torch.ones_like(block)
    return g, g, similar, ~torch.eye(n, dtype=torch.bool, device=g.device)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)


def beta_at(kind: Continuation, step: int, total: int, *, stages: int = 10, beta_max: float = 10.0) -> float:
    """The continuation's beta at training step ``step`` of ``total``.

    ``code``: the official sqrt(1 + 0.005 step), renewed every 200 steps; ``progress``: the same curve
    stretched over
    this training; ``stages``: the paper's Algorithm 1, equal stages whose beta grows geometrically from 1 to
    ``beta_max`` (the paper names no values; its last stage, infinity, is the sign itself); ``none``: 1.

    >>> [round(beta_at("code", step, 10000), 3) for step in (0, 199, 200, 1000, 10000)]
    [1.0, 1.0, 1.414, 2.449, 7.141]
    """
    if kind == "none":
        return 1.0
    if kind == "stages":
        stage = min(stages - 1, step * stages // max(1, total))
        return float(beta_max ** (stage / max(1, stages - 1)))
    official = step if kind == "code" else step * OFFICIAL_STEPS // max(1, total)
    return math.sqrt(1 + 0.005 * (official // 200 * 200))


class HashNet(HashingMethod):
    """HashNet with every switch its paper and its official code disagree on.

    Args:
        alpha: slope of the sigmoid over inner products; ``null`` is 10 / bits, the official value.
        pairs: ``all`` pairs of the batch without self-pairs, or ``cross``, two halves against each other.
        weighting: ``balanced`` (the paper's, mean of similar plus mean of dissimilar) or ``class_num``
            (official code).
        class_num: weight of similar pairs under ``class_num``; ``null`` is the number of classes.
        continuation: how tanh sharpens: ``progress``, ``code``, ``stages`` (the paper's) or ``none``.
        stages: number of stages of the paper's continuation.
        beta_max: last finite beta of the paper's continuation.
        init_std: spread of the hash layer's first weights (official: 0.01; small values risk the collapse at
            ln 2).
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    beta: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        alpha: float | None = None,
        pairs: Literal["all", "cross"] = "all",
        weighting: Literal["balanced", "class_num"] = "balanced",
        class_num: float | None = None,
        continuation: Continuation = "progress",
        stages: int = 10,
        beta_max: float = 10.0,
        init_std: float = 0.01,
        input_norm: InputNorm = "none",
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        require(stages >= 1, "stages", stages, "1 and more")
        require(0 < beta_max <= 1e6, "beta_max", beta_max, "numbers above 0, up to 1e6")
        require(0 <= init_std <= 1e3, "init_std", init_std, "numbers from 0 to 1000")
        require(alpha is None or 0 < alpha <= 1e6, "alpha", alpha, "numbers above 0, up to 1e6")
        require(class_num is None or 0 < class_num <= 1e9, "class_num", class_num, "numbers above 0")
        self.head = PooledLinear(backbone.width, bits, input_norm)
        nn.init.normal_(self.head.linear.weight, std=init_std)
        nn.init.zeros_(self.head.linear.bias)
        self.alpha = 10.0 / bits if alpha is None else alpha
        self.pairs: Literal["all", "cross"] = pairs
        self.class_num = None if weighting == "balanced" else float(class_num or num_classes)
        self.continuation: Continuation = continuation
        self.stages, self.beta_max = stages, beta_max
        self.register_buffer("beta", torch.ones(()))

    def forward(self, features: Features) -> Tensor:
        """The real values z (b, bits) whose signs are the code."""
        z: Tensor = self.head(features.vector)
        return z

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted pairwise likelihood of the global batch."""
        together, z = self.gather(batch, self(batch.features))
        g = torch.tanh(self.beta * at_least_float32(z))
        self._last_activation = g.detach().abs().mean()
        return {
            "pairwise": pairwise_loss(
                g, together.labels, self.alpha, pairs=self.pairs, class_num=self.class_num
            )
        }

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of z, with z = 0 as +1 (the paper's convention)."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """tanh(z) at beta = 1, compared by cosine."""
        return RealCodes(torch.tanh(self(features).float()).numpy(force=True), "cosine")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Sharpen tanh as the continuation's schedule says."""
        step, total = self.trainer.global_step, int(self.trainer.estimated_stepping_batches)
        self.beta.fill_(beta_at(self.continuation, step, total, stages=self.stages, beta_max=self.beta_max))

    def on_train_epoch_end(self) -> None:
        """Log beta and the activations; say so when the codes have collapsed to zero (the loss then rests at
        ln 2).
        """
        self.log("train/beta", self.beta)
        self.log("train/activation", self._last_activation)
        if self._last_activation < 0.1 and self.trainer.current_epoch > 0 and self.trainer.is_global_zero:
            warnings.warn(
                f"hashnet: activations have collapsed to {float(self._last_activation):.3f} (the loss "
                "rests at ln 2 per kind of pair): raise --optim.lr or --method.init_std, "
                "or use --data.sampler pk",
                stacklevel=1,
            )
