"""HashingMethod: what every method is. A method writes ``encode`` and either ``loss`` or
``fit_closed_form``; the rest is here, once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.codes import Codes, RealCodes
from fghash.errors import InputError
from fghash.methods.optim import build_optimizer, rate_factor
from fghash.settings.config import OptimConfig


class Encoded:
    """What one batch became: dataset positions (b,), labels, codes and, where the method has one, real
    embeddings.

    A plain class: Lightning takes named tuples and dataclasses apart to move what is in them.
    """

    def __init__(
        self, index: np.ndarray, labels: np.ndarray, codes: Codes, embedding: RealCodes | None
    ) -> None:
        self.index, self.labels, self.codes, self.embedding = index, labels, codes, embedding


class Means:
    """Means of named scalars, summed on their device: reading one waits for nothing."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """One more of each."""
        with torch.no_grad():
            for name, value in values.items():
                known = self.sums.get(name)
                self.sums[name] = value.detach().float() if known is None else known + value.detach()
        self.count += 1

    def means(self) -> dict[str, Tensor]:
        """The mean of each since the last call."""
        means = {name: total / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def state(self) -> dict[str, Any]:
        """For a checkpoint within an epoch."""
        return {"sums": dict(self.sums), "count": self.count}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.sums, self.count = dict(state["sums"]), int(state["count"])


class HashingMethod(pl.LightningModule, ABC):
    """A network that learns codes.

    Subclasses take ``(backbone, num_classes, bits, optim)`` followed by their own keyword-only settings with
    defaults; the first four come from the pipeline, so every method gets the same backbone and the same bit
    budget. ``reads`` says which features a method needs; it never sees images.
    """

    reads: Reads = Reads(pooled=True)

    def __init__(self, backbone: Backbone, num_classes: int, bits: int, optim: OptimConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.bits = bits
        self.optim = optim
        self.epoch_terms = Means()
        self.step_terms: dict[str, Tensor] = {}  # of the latest step, with their sum as ``loss``

    # What a method writes.

    @abstractmethod
    def encode(self, features: Features) -> Codes:
        """Codes of these features, as a gallery stores them."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted terms (scalars) of the *global* batch, of a batch that has features.

        Call :meth:`gather` once on what the terms are made of.
        """
        raise NotImplementedError(f"{type(self).__name__} has no loss: it is fitted in closed form")

    def fit_closed_form(self, features: Tensor, labels: Tensor) -> None:
        """Learn from the frozen network's vectors of all training items, instead of :meth:`loss`.

        Called once, on one process, with torch's generator seeded. What is learned belongs in buffers: they
        are shared with the other processes and stored.

        Args:
            features: (n, width) pooled vectors in dataset order, float32 on the CPU, not augmented.
            labels: (n,) classes or (n, classes) multi-hot.
        """
        raise NotImplementedError(f"{type(self).__name__} is trained by its loss")

    @property
    def closed_form(self) -> bool:
        """Whether there is nothing to train step by step."""
        return type(self).fit_closed_form is not HashingMethod.fit_closed_form

    # Seams, each with a sensible default.

    def encode_queries(self, features: Features) -> Codes:
        """What the gallery is compared with; other than :meth:`encode` for asymmetric search."""
        return self.encode(features)

    def code_values(self, features: Features) -> Tensor:
        """What :meth:`encode` makes codes of, one tensor: values (b, bits) whose signs are the bits (0 counts
        as positive), indices (b, m) of codewords, or real vectors (b, d). Exported graphs end here.
        """
        values: Tensor = self(features)
        return values

    def query_values(self, features: Features) -> Tensor:
        """The same of :meth:`encode_queries`."""
        return self.code_values(features)

    def embed(self, features: Features) -> RealCodes | None:
        """The real embedding before coding, with its similarity, for ``map_real``; ``None`` without one."""
        return None

    def encode_and_embed(self, features: Features, queries: bool) -> tuple[Codes, RealCodes | None]:
        """Codes and real embedding of the same features; a method whose head is costly runs it once here."""
        codes = self.encode_queries(features) if queries else self.encode(features)
        return codes, self.embed(features)

    def portable_settings(self) -> dict[str, Any]:
        """Settings in place of those that name files, which a bundle has not; by default none."""
        return {}

    def learned_codes(self) -> Codes | None:
        """Codes of the training items that training itself optimised, in dataset order; ``None`` without
        such.
        """
        return None

    def train_sampler(self, labels: np.ndarray) -> Sampler[Any] | None:
        """The order of the training items, given their labels; ``None`` leaves it to the data module."""
        return None

    def epoch_state(self) -> dict[str, Any]:
        """What the method gathers within an epoch outside its buffers, as tensors and plain values: a
        checkpoint within the epoch keeps it.
        """
        return {}

    def resume_epoch(self, state: dict[str, Any]) -> None:
        """Called in place of ``on_train_epoch_start`` where a training resumes within an epoch, with what
        :meth:`epoch_state` gave.
        """

    @classmethod
    def allows_bits(cls, bits: int, **settings: Any) -> None:
        """Refuse a code length that the method, with these settings, cannot have; by default only 0 and less.

        Raises:
            InputError: naming the lengths that are allowed.
        """
        check_bits(bits, bits > 0, cls.__name__.lower(), "allowed: any positive length")

    def code_lengths(self) -> tuple[int, ...]:
        """The code lengths that one training gives, shortest first."""
        return (self.bits,)

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """The new layers' parameters, which learn at ``lr * head_multiple``; by default all but the
        backbone's.
        """
        backbone = {id(parameter) for parameter in self.backbone.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in backbone]

    def configure_optimizers(self) -> Any:
        """One optimiser with groups backbone and head, and its schedule per step, as ``optim`` says."""
        optimizer = build_optimizer(self.optim, self.backbone.parameters(), self.head_parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer)}

    # The rest is the same for all.

    @final
    def read(self, batch: Batch) -> Batch:
        """The batch on the device of the weights, with the features that ``reads`` names in place of images.

        Whatever feeds the network goes through here: training, validation, prediction, class means, starts of
        codebooks, and encoding from Python. A batch that has features already is only moved.
        """
        batch = batch.to(self.device)
        if batch.images is None:
            return batch._replace(features=batch.features.in_precision(self.backbone.dtype))
        return batch._replace(images=None, features=self.backbone(batch.images, self.reads))

    @final
    def schedule(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Lightning's scheduler entry of the configured learning-rate schedule, stepped with every batch.

        Raises:
            InputError: the training has no end that a schedule could aim at.
        """
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise InputError("trainer.max_epochs: -1 without trainer.max_steps (one must be a number)")
        total = max(1, int(steps))
        return {
            "scheduler": LambdaLR(optimizer, lambda step: rate_factor(self.optim, step, total)),
            "interval": "step",
        }

    @final
    def planned_epochs(self) -> int:
        """Epochs of this training, also where steps limit it."""
        an_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return math.ceil(self.trainer.estimated_stepping_batches / max(1, an_epoch))

    @final
    def gather(self, batch: Batch, *tensors: Tensor) -> tuple[Any, ...]:
        """The batch and the tensors (b, ...) of all processes, rank after rank, with gradient.

        Every process then computes the loss of the whole global batch and nothing is scaled: the averaging of
        gradients across processes cancels the sum in this gather's backward. One process gets its own back.
        Features stay local.
        """
        if self.trainer_or_none() is None or self.trainer.world_size == 1:
            return (batch, *tensors)
        labels, index = self._gathered(batch.labels, grads=False), self._gathered(batch.index, grads=False)
        together = (self._gathered(tensor, grads=True) for tensor in tensors)
        return (batch._replace(labels=labels, index=index), *together)

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum the method's terms; their means are logged once an epoch (:class:`EpochTerms`)."""
        terms = self.loss(self.read(batch))
        total = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        self.step_terms = {**{name: term.detach() for name, term in terms.items()}, "loss": total.detach()}
        self.epoch_terms.add(self.step_terms)
        if not self.automatic_optimization:
            self.optimise(total)
        return total

    def optimise(self, total: Tensor) -> None:
        """One backward pass, then a step of every optimiser (only methods with several optimisers come
        here).
        """
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        for optimizer in _listed(optimizers):
            optimizer.zero_grad()
        self.manual_backward(total)
        for optimizer in _listed(optimizers):
            optimizer.step()
        for scheduler in _listed(schedulers):
            scheduler.step()

    @final
    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> Encoded:
        """Encode validation items: loader 0 gives the queries, loader 1 the gallery."""
        return self._encoded(batch, queries=dataloader_idx == 0)

    @final
    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Encoded:
        """Encode a split: loader 0 gives the queries, loader 1 the gallery."""
        return self._encoded(batch, queries=dataloader_idx == 0)

    @final
    def trainer_or_none(self) -> pl.Trainer | None:
        """The trainer this method is attached to, if any (losses can be called without one)."""
        try:
            return self.trainer
        except RuntimeError:  # how Lightning says that there is none
            return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A backbone that is not trained stays out: it comes from where the run starts."""
        if self.backbone.config.freeze == "all":
            state = checkpoint["state_dict"]
            checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("backbone.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The present backbone, where the checkpoint has none."""
        own = self.backbone.state_dict(prefix="backbone.")
        checkpoint["state_dict"] = {**own, **checkpoint["state_dict"]}

    @torch.no_grad()
    def _encoded(self, batch: Batch, queries: bool) -> Encoded:
        try:
            codes, embedding = self.encode_and_embed(self.read(batch).features, queries)
        except InputError as error:
            if "finite" not in str(error):
                raise
            raise InputError(
                f"codes: {type(self).__name__} gives numbers that are not finite ({error}): "
                "lower --optim.lr, or another --trainer.precision"
            ) from error
        return Encoded(batch.index.cpu().numpy(), batch.labels.cpu().numpy(), codes, embedding)

    def _gathered(self, tensor: Tensor, grads: bool) -> Tensor:
        ranks: Any = self.all_gather(tensor, sync_grads=grads)
        together: Tensor = ranks.flatten(0, 1)
        return together


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def check_bits(bits: int, allowed: bool, argument: str, rule: str) -> None:
    """Refuse a code length, in one form of words for all methods.

    Raises:
        InputError: ``bits`` is not allowed; ``rule`` says what is.
    """
    if not allowed:
        raise InputError(f"bits: {bits} does not suit {argument} ({rule})")
