"""ExchNet: a unified hashing network for large-scale fine-grained retrieval (Cui, Jiang et al.; ECCV 2020).

An attention generator picks M parts on the level-3 map E; two copies of the backbone's last stage refine the
parts (shared over them) and the whole; u = tanh(W [f_1 .. f_M ; f_whole]). Two diversity terms keep the parts
apart. In the second half of training a part's feature is exchanged, by a coin, for its class's mean (the
anchor), so that parts line up across images. Network, codes of the training items and anchors are optimised
in turns (ADSH's scheme).

From the paper, read in full; its own code was never released. What it leaves open (weights of the diversity
terms, shape of the attention generator, augmentation) follows the near-official code DSH_Analysis; each is a
switch. The paper's eq. 17 has its sign flipped (see ``code_step``) and its eq. 5 and 7 count pairs twice;
both are corrected.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.layers.asymmetric import Alternation, random_words
from fghash.layers.heads import start_small
from fghash.layers.precision import at_least_float32
from fghash.layers.requirements import require
from fghash.methods.refining import RefiningMethod
from fghash.settings.config import OptimConfig

Attention = Literal["funnel", "stage"]
_EPSILON = 1e-12  # inside the roots: the plain form has NaN gradients on one-hot distributions
_COINS = 4  # what random words are drawn for, beside those of layers.asymmetric

# -- head ----------------------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """ResNet's bottleneck at stride 1, its identity shortcut without projection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(channels // 4, 1)
        self.body = nn.Sequential(
            *_convolution(channels, width, 1), nn.ReLU(),
            *_convolution(width, width, 3), nn.ReLU(),
            *_convolution(width, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map in, map of the same shape out."""
        return torch.relu(x + self.body(x))


def _convolution(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(outputs)


def funnel(channels: int, parts: int) -> nn.Sequential:
    """Attention generator of the near-official code: bottlenecks and 1x1 layers, 1024 to 256 to 64 to M."""
    middle, last = max(channels // 4, 4), max(channels // 16, 4)
    return nn.Sequential(
        Bottleneck(channels), *_convolution(channels, middle, 1),
        Bottleneck(middle), *_convolution(middle, last, 1),
        Bottleneck(last), *_convolution(last, parts, 1),
    )  # fmt: skip


def without_strides(stage: nn.Module) -> nn.Module:
    """The same stage, weights included, that keeps the size of its map: every stride becomes 1."""
    for name, module in list(stage.named_modules()):
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            module.stride = (1, 1)
            if module.kernel_size[0] % 2 == 0:
                module.padding = "same"
        elif isinstance(module, nn.AvgPool2d | nn.MaxPool2d) and module.stride in (2, (2, 2)):
            parent, _, leaf = name.rpartition(".")
            setattr(stage.get_submodule(parent), leaf, nn.Identity())
    return stage


class PartsHead(nn.Module):
    """Level-3 map (b, c, h, w) -> maps of M parts and a vector of the whole; from both, the code."""

    def __init__(
        self, backbone: Backbone, bits: int, parts: int, attention: Attention, activation: str
    ) -> None:
        super().__init__()
        inner, outer = backbone.channels[2], backbone.channels[3]
        self.look = without_strides(backbone.copy_stage(4)) if attention == "stage" else nn.Identity()
        self.choose = nn.Conv2d(outer, parts, 1) if attention == "stage" else funnel(inner, parts)
        self.activation = nn.Sigmoid() if activation == "sigmoid" else nn.ReLU()
        self.local = backbone.copy_stage(4)
        self.whole = backbone.copy_stage(4)
        self.linear = start_small(nn.Linear((parts + 1) * outer, bits))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Part maps (b, M, c', h', w') and the whole's vector (b, c')."""
        attention = self.activation(self.choose(self.look(features)))
        attended = features[:, None] * attention[:, :, None]
        maps = self.local(attended.flatten(0, 1))
        return maps.unflatten(0, attended.shape[:2]), self.whole(features).mean(dim=(2, 3))

    def hash(self, parts: Tensor, whole: Tensor) -> Tensor:
        """The real values whose signs are the code, from part vectors (b, M, c') and the whole's (b, c')."""
        values: Tensor = self.linear(torch.cat([parts.flatten(1), whole], dim=1))
        return values

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """Those that start from nothing; the refining stages start from the backbone's weights."""
        return itertools.chain(self.choose.parameters(), self.linear.parameters())


# -- loss ----------------------------------------------------------------------------------------------------


def spatial_distributions(maps: Tensor, aggregation: Literal["mean", "sum"]) -> Tensor:
    """Part maps (b, M, c, h, w) -> where each part looks, (b, M, h w), summing to 1.

    The paper sums over channels, which makes the softmax nearly one-hot; near-official code takes the mean.
    """
    maps = at_least_float32(maps)
    return (maps.sum(2) if aggregation == "sum" else maps.mean(2)).flatten(2).softmax(-1)


def diversity(distributions: Tensor) -> Tensor:
    """Mean Hellinger distance between the parts' distributions (b, M, d), one number in [0, 1] an image.

    D = 1 / (sqrt(2) binom(M, 2)) sum_{l<k} |sqrt(z_l) - sqrt(z_k)|_2 (eq. 5 and 7, each pair once).
    """
    roots = (at_least_float32(distributions) + _EPSILON).sqrt()
    first, second = torch.triu_indices(roots.shape[1], roots.shape[1], 1, device=roots.device)
    apart = (roots[:, first] - roots[:, second]).square().sum(-1)
    return (apart + _EPSILON).sqrt().mean(1) / math.sqrt(2)


def exchange_parts(parts: Tensor, anchors: Tensor, keep: Tensor) -> Tensor:
    """Part vectors (b, M, c), those not kept ((b, M) booleans) replaced by anchors (b, M, c) (eq. 8)."""
    return torch.where(keep[..., None], parts, anchors.to(parts.dtype))


def members(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(item, class) of every label: one an item for classes (b,), several for multi-hot (b, classes)."""
    if labels.ndim == 1:
        return torch.arange(len(labels), device=labels.device), labels
    item, label = labels.nonzero(as_tuple=True)
    return item, label


def anchors_of(anchors: Tensor, labels: Tensor) -> Tensor:
    """Anchors (b, M, c) of the items' classes, of (classes, M, c); their mean for an item with several."""
    if labels.ndim == 1:
        return anchors[labels]
    shares = labels.to(anchors.dtype)
    shares = shares / shares.sum(1, keepdim=True).clamp_min(1)
    return torch.einsum("bk,kmc->bmc", shares, anchors)


# -- method --------------------------------------------------------------------------------------------------


class ExchNet(RefiningMethod):
    """ExchNet with every switch that its sources leave open.

    Args:
        parts: M, number of attention maps.
        attention: ``funnel`` (near-official code) or ``stage``, the literal reading: the last stage without
            strides.
        activation: of the attention maps, ``relu`` or ``sigmoid``.
        aggregation: of a part's channels for the spatial term, ``mean`` (near-official code) or ``sum``
            (paper).
        spatial_weight: lambda, of 1 - D(where the parts look).
        channel_weight: gamma, of max(0, threshold - D(which channels the parts have)).
        threshold: t of the channel term.
        align_weight: of the near-official code's extra term, |exchanged parts - anchors|_F / b; not in the
            paper.
        quantisation_weight: of ADSH's |v - u|^2; not in the paper.
        exchange: exchange features at all; without it this is ADSH on this head.
        exchange_start: fraction of the outer iterations before exchange begins.
        subset: m, items of an outer iteration; never more than half of all.
        inner: inner epochs of an outer iteration, as a fraction of all epochs.
    """

    reads = Reads(levels=(3,))
    anchors: Tensor
    exchanging: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        parts: int = 4,
        attention: Attention = "funnel",
        activation: Literal["relu", "sigmoid"] = "relu",
        aggregation: Literal["mean", "sum"] = "mean",
        spatial_weight: float = 1.0,
        channel_weight: float = 1.0,
        threshold: float = 0.4,
        align_weight: float = 0.0,
        quantisation_weight: float = 0.0,
        exchange: bool = True,
        exchange_start: float = 0.5,
        subset: int = 2000,
        inner: float = 0.05,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        require(parts >= 2, "parts", parts, "2 or more (the diversity terms compare parts)")
        require(0 <= exchange_start <= 1, "exchange_start", exchange_start, "fractions, 0 to 1")
        self.head = PartsHead(backbone, bits, parts, attention, activation)
        backbone.rest_after(3)  # copies of the last stage are trained, itself is never run
        self.alternation = Alternation(bits, subset, inner, gamma=quantisation_weight)
        self.aggregation: Literal["mean", "sum"] = aggregation
        self.spatial_weight, self.channel_weight, self.threshold = spatial_weight, channel_weight, threshold
        self.align_weight, self.exchange, self.exchange_start = align_weight, exchange, exchange_start
        self.register_buffer("anchors", torch.zeros(num_classes, parts, backbone.channels[3]))
        self.register_buffer("exchanging", torch.zeros((), dtype=torch.bool))
        self._coins: Tensor | None = None  # of all items for this epoch, while features are exchanged

    def forward(self, features: Features) -> Tensor:
        """The real values (b, bits) whose signs are the code, never with exchanged features."""
        maps, whole = self.head(features.maps[3])
        return self.head.hash(maps.mean(dim=(3, 4)), whole)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Similarity (eq. 12) on exchanged features, diversity of the features themselves (eq. 5 and 7)."""
        maps, whole = self.head(batch.features.maps[3])
        parts = maps.mean(dim=(3, 4))
        spatial = 1 - diversity(spatial_distributions(maps, self.aggregation))
        channel = (self.threshold - diversity(at_least_float32(parts).softmax(-1))).relu()
        parts = self.exchanged(parts, batch)
        drift = (at_least_float32(parts) - anchors_of(self.anchors, batch.labels)).square().sum((1, 2))
        outputs = torch.tanh(at_least_float32(self.head.hash(parts, whole)))
        batch, outputs, spatial, channel, drift = self.gather(batch, outputs, spatial, channel, drift)
        terms = {
            **self.alternation.terms(outputs, batch),
            "spatial": self.spatial_weight * spatial.mean(),
            "channel": self.channel_weight * channel.mean(),
        }
        if self.align_weight and self._coins is not None:
            terms["align"] = self.align_weight * (drift.sum() + _EPSILON).sqrt() / len(drift)
        return terms

    def exchanged(self, parts: Tensor, batch: Batch) -> Tensor:
        """The parts (b, M, c) after exchange: a fair coin says which take their class's anchor.

        Only in training, and only once exchange has begun. The coins depend on (seed, epoch, item), so they
        are the same for any number of processes and after a resume.
        """
        if self._coins is None or not self.training:
            return parts
        return exchange_parts(parts, anchors_of(self.anchors, batch.labels), self._coins[batch.index])

    def on_train_epoch_start(self) -> None:
        """Begin an outer iteration where one begins, and toss the epoch's coins if features are exchanged."""
        super().on_train_epoch_start()
        self.resume_epoch({})

    def resume_epoch(self, state: dict[str, Any]) -> None:
        """The epoch's coins."""
        self._coins = self._tossed() if self.exchanging else None

    def _tossed(self) -> Tensor:
        state, count = self.alternation, self.anchors.shape[1]
        draws = random_words(len(state.labels) * count, _COINS, self.current_epoch, int(state.seed))
        coins = torch.from_numpy((draws >> np.uint64(63)).astype(bool))
        return coins.reshape(-1, count).to(self.anchors.device)

    # -- the end of an outer iteration -----------------------------------------------------------------------

    def end_iteration(self) -> None:
        """The code step, then new anchors if the next iteration exchanges features."""
        super().end_iteration()
        start = math.ceil(self.exchange_start * self.alternation.iterations)
        if self.exchange and start <= self.alternation.steps < self.alternation.iterations:
            self.anchors = self.class_means()
            self.exchanging = torch.ones_like(self.exchanging)

    @torch.no_grad()
    def class_means(self) -> Tensor:
        """Plain mean of every class's part vectors (eq. 18), (classes, M, c).

        Over all training items of all processes, in evaluation mode and under the evaluation transform; an
        absent class has zeros.
        """
        sums = torch.zeros_like(self.anchors, dtype=torch.float64)
        counts = sums.new_zeros(len(sums))
        strategy, precision = self.trainer.strategy, self.trainer.precision_plugin
        with evaluating(self), precision.forward_context():
            for batch in self.trainer.datamodule.train_eval_dataloader():  # type: ignore[attr-defined]
                batch = self.read(precision.convert_input(batch))
                maps, _ = self.head(batch.features.maps[3])
                item, label = members(batch.labels)
                sums.index_add_(0, label, maps.mean(dim=(3, 4)).double()[item])
                counts += torch.bincount(label, minlength=len(counts))
        sums, counts = (strategy.reduce(total, reduce_op="sum") for total in (sums, counts))
        return (sums / counts.clamp_min(1)[:, None, None]).to(self.anchors)

    # -- optimisation ----------------------------------------------------------------------------------------

    def copies(self) -> Iterable[nn.Module]:
        """The stages that refine parts and whole, and the one that attention looks through."""
        return (self.head.local, self.head.whole, self.head.look)

    def new_parameters(self) -> Iterable[nn.Parameter]:
        """The attention's and the hash layer's."""
        return self.head.new_parameters()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the context; afterwards every part has its own mode again."""
    trained = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in trained:
            part.training = True
