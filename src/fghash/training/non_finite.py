"""A loss that is no number: the training stops at that step, or leaves the batch out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from fghash.errors import InputError
from fghash.store.upkeep import FAILURE
from fghash.store.writing import write_text

FAILED = "failed.ckpt"


class LeftOut(UserWarning):
    """A batch was left out."""


class FiniteLoss(Callback):
    """Looks at every loss before its gradients reach the weights.

    On a GPU it asks for the loss while the backward pass is under way there, so the device never waits.
    With ``skips`` a batch without a finite loss is left out, as if it had not been: no gradient, and buffers
    and sums of before. Otherwise, and when all are used up, the training ends with ``failure.json`` (step,
    terms, positions of the items) and ``failed.ckpt``, the state before that step, in ``folder``.

    Args:
        folder: of the checkpoints; ``None`` keeps nothing.
        skips: batches that may be left out in the whole training.
    """

    def __init__(self, folder: Path | None, skips: int = 0) -> None:
        self.folder, self.skips = folder, skips
        self.skipped: list[list[int]] = []  # epoch and batch of what was left out
        self._drawn: Tensor | None = None  # the generators' state, here and on the device
        self._drawn_there: Tensor | None = None
        self._sums: dict[str, Any] = {}
        self._buffers: dict[str, Tensor] = {}
        self._looks: list[_Look] = []
        self._leaving = False

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Remember what a step changes before its loss is known."""
        self._drawn = torch.get_rng_state()
        if pl_module.device.type == "cuda":
            self._drawn_there = torch.cuda.get_rng_state(pl_module.device)
        if self.skips and batch_idx % trainer.accumulate_grad_batches == 0:
            self._sums = pl_module.epoch_terms.state()
            self._buffers = {name: value.clone() for name, value in pl_module.named_buffers()}

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        """On the CPU the loss is there; on a GPU ask for it."""
        look = _Look(pl_module.step_terms["loss"])
        last_chance = len(self.skipped) >= self.skips
        if last_chance and (look.is_here or trainer.accumulate_grad_batches > 1):
            self._require(trainer, pl_module, look)
        else:
            self._looks.append(look)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Before the weights change: all losses that went into the gradients."""
        looks, self._looks = self._looks, []
        if looks:  # a method with several optimisers comes here once for each
            self._leaving = not all(look.is_finite() for look in looks)
            if self._leaving:
                self._leave_out(trainer, pl_module, looks[-1])
        if self._leaving:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """For a resumed training."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What was left out counts."""
        self.skipped = list(state_dict["skipped"])

    def _leave_out(self, trainer: pl.Trainer, method: Any, look: _Look) -> None:
        if len(self.skipped) >= self.skips:
            self._require(trainer, method, look)
        self.skipped.append([trainer.current_epoch, trainer.fit_loop.batch_idx])
        method.epoch_terms.load(self._sums)
        with torch.no_grad():
            for name, before in self._buffers.items():
                method.get_buffer(name).copy_(before)
        rank_zero_warn(
            f"train/loss: not finite in epoch {trainer.current_epoch}, batch {trainer.fit_loop.batch_idx}, "
            f"which is left out ({len(self.skipped)} of {self.skips})",
            category=LeftOut,
        )

    def _require(self, trainer: pl.Trainer, method: Any, look: _Look) -> None:
        if look.is_finite():
            return
        terms = {name: float(value) for name, value in method.step_terms.items()}
        epoch, batch, step = trainer.current_epoch, trainer.fit_loop.batch_idx, trainer.global_step
        if self.folder is not None:
            self._keep(trainer, {"step": step, "epoch": epoch, "batch": batch, "terms": terms})
        wrong = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
        clipping = ", set --trainer.gradient_clip_val" if method.automatic_optimization else ""
        look_into = f"; fghash replay {self.folder.parent} looks into it" if self.folder is not None else ""
        raise InputError(
            f"train/loss: {terms['loss']} at step {step}, epoch {epoch}, batch {batch} (not finite: "
            f"{wrong}): lower --optim.lr{clipping} or leave such batches out "
            f"(--on_nan 'skip 3'){look_into}"
        )

    def _keep(self, trainer: pl.Trainer, failure: dict[str, Any]) -> None:
        """``failed.ckpt``, from which this very step comes next, and ``failure.json``."""
        assert self.folder is not None
        if self._drawn is not None:
            torch.set_rng_state(self._drawn)
        if self._drawn_there is not None:
            torch.cuda.set_rng_state(self._drawn_there)
        trainer.save_checkpoint(self.folder / FAILED)
        if trainer.is_global_zero:
            io: Any = trainer.strategy.checkpoint_io
            io.wait()
            failure |= _items(trainer, failure["epoch"], failure["batch"])
            failure["terms"] = {name: str(value) for name, value in failure["terms"].items()}
            write_text(self.folder / FAILURE, json.dumps(failure, indent=1) + "\n")


class _Look:
    """A loss that is asked for now and read later."""

    def __init__(self, loss: Tensor) -> None:
        self.is_here = loss.device.type == "cpu"
        self._value = loss
        self._event: Any = None
        if loss.device.type == "cuda":
            self._value = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def is_finite(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return math.isfinite(float(self._value))


def _items(trainer: pl.Trainer, epoch: int, batch: int) -> dict[str, Any]:
    """Positions and names of the items of a global batch, over all processes."""
    loader: Any = trainer.train_dataloader
    data: Any = getattr(trainer, "datamodule", None)
    sampler = loader.sampler
    first = batch * sampler.batch_size
    positions = sampler.order.epoch(epoch)[first : first + sampler.batch_size].tolist()
    items = getattr(data, "train_items", None)
    names = [] if items is None else [str(items.names[position]) for position in positions]
    return {"items": positions, "names": names}
