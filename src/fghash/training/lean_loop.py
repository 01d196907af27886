"""Lightning's loop over the batches of an epoch without what a step of a millisecond cannot afford.

On cached features a step of a head takes about a millisecond, and so do the hooks around it. The loop here
does the same in the same order for the plain case (one process, full precision, no accumulation or clipping,
no profiler) and calls only hooks that somebody wrote; any other case goes through Lightning's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.model_helpers import is_overridden

_HOOKS = (
    "on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_before_zero_grad",
)  # fmt: skip
_REPLACED = (  # of the module: whoever writes one of these gets Lightning's own loop
    "optimizer_step", "optimizer_zero_grad", "backward", "configure_gradient_clipping", "lr_scheduler_step",
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
)  # fmt: skip


def use_lean_loop(trainer: pl.Trainer, method: pl.LightningModule) -> None:
    """Replace the loop over batches where the training is of the plain kind."""
    if _plain(trainer, method):
        old = trainer.fit_loop.epoch_loop
        lean = LeanEpochLoop(trainer, old.min_steps, old.max_steps)
        trainer.fit_loop.epoch_loop = lean


def _plain(trainer: pl.Trainer, method: pl.LightningModule) -> bool:
    return (
        method.automatic_optimization
        and isinstance(trainer.strategy, SingleDeviceStrategy)
        and type(trainer.precision_plugin) is Precision
        and type(vars(trainer)["profiler"]) is PassThroughProfiler
        and trainer.accumulate_grad_batches == 1
        and not trainer.gradient_clip_val
        and type(trainer.fit_loop.epoch_loop) is _TrainingEpochLoop
        and not any(is_overridden(name, method, pl.LightningModule) for name in _REPLACED)
    )


class LeanEpochLoop(_TrainingEpochLoop):
    """The batches of an epoch: forward, backward, step, schedule, and the hooks that exist."""

    def on_run_start(self, data_fetcher: Any) -> None:
        """Look up once an epoch which hooks somebody wrote."""
        super().on_run_start(data_fetcher)
        trainer: Any = self.trainer
        method = trainer.lightning_module
        self._called = {name: list(_written(name, trainer, method)) for name in _HOOKS}

    def advance(self, data_fetcher: Any) -> None:
        """One batch."""
        if self.restarting:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        trainer: Any = self.trainer
        batch, _, _ = next(data_fetcher)
        index = self.batch_idx + 1
        progress = self.batch_progress
        progress.is_last_batch = data_fetcher.done
        progress.increment_ready()
        self._hook("on_train_batch_start", batch, index)
        progress.increment_started()
        loss = self._step(trainer, batch, index)
        progress.increment_processed()
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._hook("on_train_batch_end", {"loss": loss}, batch, index)
        progress.increment_completed()

    def _step(self, trainer: Any, batch: Any, index: int) -> Any:
        method, optimizer = trainer.lightning_module, trainer.optimizers[0]
        counts = self.automatic_optimization.optim_progress.optimizer
        counts.step.increment_ready()
        loss = method.training_step(batch, index)
        self._hook("on_before_zero_grad", optimizer)
        counts.zero_grad.increment_ready()
        optimizer.zero_grad()
        counts.zero_grad.increment_started()
        counts.zero_grad.increment_completed()
        self._hook("on_before_backward", loss)
        loss.backward()
        self._hook("on_after_backward")
        self._hook("on_before_optimizer_step", optimizer)
        optimizer.step()
        counts.step.increment_completed()
        return loss.detach()

    def _hook(self, name: str, *arguments: Any) -> None:
        """Of the callbacks, then of the method, in Lightning's order."""
        method: Any = self.trainer.lightning_module
        method._current_fx_name = name
        for call in self._called[name]:
            call(*arguments)


def _written(name: str, trainer: Any, method: pl.LightningModule) -> Iterator[Callable[..., Any]]:
    """The hooks of this name that do something."""
    for callback in trainer.callbacks:
        if is_overridden(name, callback, pl.Callback):
            yield partial(getattr(callback, name), trainer, method)
    if is_overridden(name, method, pl.LightningModule):
        yield getattr(method, name)
