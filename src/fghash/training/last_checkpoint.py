"""``last.ckpt``: what a killed or stopped training continues from, exactly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Checkpoint

from fghash.errors import InputError, Stopped
from fghash.training.signals import REQUEUE, StopSignals, requeue
from fghash.training.within_epoch import within_epoch

LAST = "last.ckpt"


class KeepLast(Checkpoint):
    """Saves every so many seconds, within an epoch or at its end, and whenever a signal ends the training.

    A training that a time limit ends is kept as well. It saves where a step begins: everything that the step
    before did, in whatever hook, is then done, its validation included.

    Args:
        folder: of the checkpoints.
        seconds: time between two checkpoints, hence what a kill may cost; 0 is after every epoch.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds, self._since = folder, seconds, time.monotonic()
        self._step = -1  # of the last save
        self.signals, self.agreement = StopSignals(), Agreement()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and listen."""
        self._since = time.monotonic()
        self.signals.watch()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, unless gradients of earlier batches are waiting."""
        if batch_idx and batch_idx % trainer.accumulate_grad_batches == 0:
            due = self.seconds > 0 and time.monotonic() - self._since >= self.seconds
            self._save(trainer, pl_module, *self.agreement.of_all(trainer, self.signals.received, due))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if it is time."""
        due = trainer.should_stop or time.monotonic() - self._since >= self.seconds
        due = due and trainer.global_step != self._step  # an epoch that ends before its first step is none
        wanted = self.agreement.of_all(trainer, self.signals.received, due, now=True)
        self._save(trainer, pl_module, *wanted)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Listen no more."""
        self.signals.release()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen no more."""
        self.signals.release()

    def _save(self, trainer: pl.Trainer, method: pl.LightningModule, stop: int, due: bool) -> None:
        if stop or due:
            require_finite(method, trainer.global_step)
            _save(trainer, self.folder / LAST)
            self._since, self._step = time.monotonic(), trainer.global_step
        if stop:
            _stop(trainer, stop)


class Agreement:
    """What any of several processes wants, known to all at the same step.

    They ask each other about once a second, at first more often: at every step it would make the device wait.
    """

    def __init__(self) -> None:
        self._steps, self._next, self._since = 0, 1, time.monotonic()

    def of_all(self, trainer: pl.Trainer, stop: int, due: bool, now: bool = False) -> tuple[int, bool]:
        """The signal that anyone received, or 0, and whether anyone finds that it is time; called with every
        step.
        """
        if trainer.world_size == 1:
            return stop, due
        self._steps += 1
        if not now and self._steps < self._next:
            return 0, False
        elapsed = time.monotonic() - self._since
        pace = min(1000, 2 * self._next, max(1, int(self._steps / max(elapsed, 1e-3))))
        wanted = torch.tensor([stop, int(due), pace], device=trainer.strategy.root_device)
        dist.all_reduce(wanted, dist.ReduceOp.MAX)
        stop, due_, self._next = wanted.tolist()
        self._steps, self._since = 0, time.monotonic()
        return stop, bool(due_)


def require_finite(method: pl.LightningModule, step: int) -> None:
    """Refuse to keep weights that are no numbers.

    Raises:
        InputError: naming the first such parameter.
    """
    named = [(name, value) for name, value in method.named_parameters() if value.requires_grad]
    finite = torch.stack([value.detach().isfinite().all() for _, value in named]) if named else torch.ones(0)
    if not bool(finite.all()):
        name = named[int((~finite).nonzero()[0])][0]
        raise InputError(
            f"weights: {name} is not finite after step {step}, nothing was saved: lower --optim.lr or set "
            "--trainer.gradient_clip_val"
        )


def _save(trainer: pl.Trainer, path: Path) -> None:
    """As Lightning, which counts a batch for its loggers when it resumes within an epoch."""
    loop = trainer.fit_loop.epoch_loop
    counted = int(within_epoch(trainer) and not loop._should_accumulate())
    loop._batches_that_stepped -= counted
    try:
        trainer.save_checkpoint(path)
    finally:
        loop._batches_that_stepped += counted


def _stop(trainer: pl.Trainer, number: int) -> None:
    """Wait for the checkpoint, have the job run again where SLURM asked, and end."""
    io: Any = trainer.strategy.checkpoint_io
    if trainer.is_global_zero:
        io.wait()
    kept = f"saved in epoch {trainer.current_epoch + 1} after step {trainer.global_step}"
    if number == REQUEUE and trainer.is_global_zero:
        kept += ", the job is requeued" if requeue() else ", but SLURM did not requeue the job"
    raise Stopped(number, kept if trainer.is_global_zero else "")
