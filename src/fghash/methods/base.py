"""HashingMethod: what every method is. A method writes ``loss`` and ``encode``; the rest is here, once."""

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
from fghash.batch import Batch
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


class HashingMethod(pl.LightningModule, ABC):
    """A network that learns codes.

    Subclasses take ``(backbone, num_classes, bits, optim)`` followed by their own keyword-only settings with
    defaults; the first four come from the pipeline, so every method gets the same backbone and the same bit
    budget.
    """

    def __init__(self, backbone: Backbone, num_classes: int, bits: int, optim: OptimConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.bits = bits
        self.optim = optim

    # What a method writes.

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted terms (scalars) of the *global* batch: call :meth:`gather` once on what they are
        made of.
        """

    @abstractmethod
    def encode(self, images: Tensor) -> Codes:
        """Codes of these images (b, c, h, w), as a gallery stores them."""

    # Seams, each with a sensible default.

    def encode_queries(self, images: Tensor) -> Codes:
        """What a query is compared with; other than :meth:`encode` for asymmetric search."""
        return self.encode(images)

    def embed(self, images: Tensor) -> RealCodes | None:
        """The real embedding before coding, with its similarity, for ``map_real``."""
        return None

    def learned_codes(self) -> Codes | None:
        """Codes of the training items that training itself optimised, in dataset order; ``None`` without
        such.
        """
        return None

    def train_sampler(self, labels: np.ndarray) -> Sampler[Any] | None:
        """The order of the training items, given their labels; ``None`` leaves it to the data module."""
        return None

    @classmethod
    def allows_bits(cls, bits: int, **settings: Any) -> None:
        """Refuse a code length that the method, with these settings, cannot have.

        Raises:
            InputError: naming the lengths that are allowed.
        """

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
        ``images`` stay local.
        """
        if self.trainer_or_none() is None or self.trainer.world_size == 1:
            return (batch, *tensors)
        labels, index = self._everyones(batch.labels, grads=False), self._everyones(batch.index, grads=False)
        together = (self._everyones(tensor, grads=True) for tensor in tensors)
        return (Batch(batch.images, labels, index), *together)

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum the method's terms and log each."""
        terms = self.loss(batch)
        total = torch.stack(list(terms.values())).sum()
        size = len(batch.images)
        self.log_dict(
            {f"train/{name}": term.detach() for name, term in terms.items()},
            on_epoch=True,
            on_step=False,
            batch_size=size,
        )
        self.log("train/loss", total.detach(), on_epoch=True, on_step=False, prog_bar=True, batch_size=size)
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
        return self.trainer if self._fabric is not None or self._trainer is not None else None

    @torch.no_grad()
    def _encoded(self, batch: Batch, queries: bool) -> Encoded:
        with self.backbone.remember():
            codes = self.encode_queries(batch.images) if queries else self.encode(batch.images)
            embedding = self.embed(batch.images)
        return Encoded(batch.index.cpu().numpy(), batch.labels.cpu().numpy(), codes, embedding)

    def _everyones(self, tensor: Tensor, grads: bool) -> Tensor:
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
