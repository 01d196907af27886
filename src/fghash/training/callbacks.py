"""What happens around training. Nothing here ever sees a test query: selection is on the validation split
only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from fghash.encoding import assemble, gathered
from fghash.evaluation import RetrievalProtocol, evaluate
from fghash.methods.base import Encoded

BEST = "best.ckpt"


class Budget(Callback):
    """What the training has cost so far, over all its attempts: batches of all processes, and seconds."""

    def __init__(self) -> None:
        self.batches, self.seconds, self._since = 0, 0.0, time.monotonic()
        self.began = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; what a checkpoint brought is kept."""
        self.began = True
        self._since = time.monotonic()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count."""
        self.batches += 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._tick()

    def state_dict(self) -> dict[str, Any]:
        """For a resumed training."""
        self._tick()
        return {"batches": self.batches, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.batches, self.seconds = int(state_dict["batches"]), float(state_dict["seconds"])

    def seconds_so_far(self) -> float:
        """Of training, validation included."""
        return self.seconds + time.monotonic() - self._since

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now


class ScoredBudgets(Callback):
    """``val/map`` after parts of the training, with the image passes and the seconds that it took.

    ``points``: of each part that has been reached ``part``, ``image_passes``, ``seconds`` and ``val_map``.
    """

    def __init__(self, parts: Sequence[float], spent: Budget, batch_size: int) -> None:
        self.parts, self.spent, self.batch_size = tuple(parts), spent, batch_size
        self.points: list[dict[str, float]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """At the first validation at or behind a part."""
        total = float(trainer.num_training_batches) * (trainer.max_epochs or 0)
        score = trainer.callback_metrics.get("val/map")
        if trainer.sanity_checking or score is None or total <= 0:
            return
        seconds = self.spent.seconds_so_far()
        for part in self.parts[len(self.points) :]:
            if self.spent.batches < part * total - 1e-6:
                break
            self.points.append({
                "part": part, "image_passes": self.spent.batches * self.batch_size,
                "seconds": round(seconds, 3), "val_map": float(score),
            })  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """For a resumed training."""
        return {"points": self.points}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What has been scored stays."""
        self.points = list(state_dict["points"])


class Watched(Callback):
    """Tell somebody, at most twice a second, which part of the training is done, from 0 to 1."""

    def __init__(self, watch: Callable[[float], None]) -> None:
        self.watch, self._told = watch, 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell, if it is time; training without an end of its own has no part to tell."""
        now, epochs = time.monotonic(), trainer.max_epochs
        if epochs and epochs > 0 and now - self._told >= 0.5:
            batches = max(1.0, float(trainer.num_training_batches))
            self._told = now
            self.watch(min(1.0, (trainer.current_epoch + (batch_idx + 1) / batches) / epochs))


class EpochTerms(Callback):
    """``train/<term>``: the mean of each term of the loss over the epoch, logged once, read from the device
    once.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the means and begin anew."""
        for name, value in pl_module.epoch_terms.means().items():
            pl_module.log(f"train/{name}", value, prog_bar=name == "loss", rank_zero_only=False)


class SelectOnValidation(ModelCheckpoint):
    """``best.ckpt``: the epoch with the highest ``val/map``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder, filename="best", monitor="val/map", mode="max", save_top_k=1,
            save_on_train_epoch_end=False, enable_version_counter=False,
        )  # fmt: skip


class ValidationScore(Callback):
    """``val/map``: the held-out part of train as queries against the rest of train as gallery."""

    def __init__(self) -> None:
        self.parts: tuple[list[Encoded], list[Encoded]] = ([], [])

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the batch's codes."""
        self.parts[dataloader_idx].append(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the codes of all processes, the same number on every one."""
        together = [gathered(parts) for parts in self.parts]
        queries, gallery = (assemble(parts, sum(len(part.index) for part in parts)) for parts in together)
        self.parts = ([], [])
        scores = evaluate(
            queries.codes, gallery.codes, queries.labels, gallery.labels, RetrievalProtocol()
        ).scores
        for name in ("map", "precision_at_1"):
            value = scores.get(name)
            if value is not None:
                pl_module.log(
                    f"val/{name}",
                    torch.tensor(float(value)),
                    prog_bar=name == "map",
                    rank_zero_only=False,
                )
