"""What a checkpoint within an epoch needs beside Lightning's state: the draws, and what an epoch gathers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from fghash.encoding import gathered

KEY = "within_epoch"


class EpochDraws(Callback):
    """All generators seeded from (seed, epoch, rank) at each epoch, so that a resumed training draws what it
    would have drawn; within an epoch they continue from where the checkpoint left them.

    Resumed on another number of processes a training gets the same items in the same order, and its
    generators are seeded anew at that step.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._kept: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Within an epoch: go on with its order of items where it was."""
        if self._kept is not None:
            self._reseed(trainer)
            loader: Any = trainer.train_dataloader
            loader.sampler.resume(trainer.current_epoch, self._kept["batches"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed Python, NumPy and torch."""
        self._kept = None
        self._reseed(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """At the first batch after a resume: generators, sums and the method's own state as they were."""
        if self._kept is None:
            return
        kept, self._kept = self._kept, None
        states = kept["generators"]
        if len(states) == trainer.world_size:
            set_generators(states[trainer.global_rank])
        else:
            self._reseed(trainer, batch_idx)
        pl_module.epoch_terms.load(kept["terms"])
        pl_module.resume_epoch(kept["method"])

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Only within an epoch; after one there is nothing to add."""
        if within_epoch(trainer):
            checkpoint[KEY] = {
                "batches": trainer.fit_loop.epoch_loop.batch_progress.current.completed,
                "generators": gathered([generators()]),
                "terms": pl_module.epoch_terms.state(),
                "method": pl_module.epoch_state(),
            }

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep it for the first batch."""
        self._kept = checkpoint.get(KEY)

    def _reseed(self, trainer: pl.Trainer, batch: int = 0) -> None:
        mixed = (self.seed * 1_000_003 + trainer.current_epoch) * 1_009 + trainer.global_rank
        pl.seed_everything((mixed + batch * 998_244_353) % 2**32, workers=False, verbose=False)


def within_epoch(trainer: pl.Trainer) -> bool:
    """Whether an epoch has begun and not ended."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return bool(epochs.processed < epochs.started)


def generators() -> dict[str, Any]:
    """The state of this process's generators, as tensors and plain values."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    states = {
        "python": (version, torch.tensor(words), gauss),
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generators(states: dict[str, Any]) -> None:
    """Put back what :func:`generators` gave."""
    version, words, gauss = states["python"]
    name, keys, *rest = states["numpy"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
