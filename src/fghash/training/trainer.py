"""build_trainer: Lightning's Trainer as fghash runs it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from fghash.errors import InputError
from fghash.training.callbacks import (
    Budget,
    EpochTerms,
    ScoredBudgets,
    SelectOnValidation,
    ValidationScore,
    Watched,
)
from fghash.training.checkpoints import SafeCheckpoints
from fghash.training.last_checkpoint import KeepLast
from fghash.training.non_finite import FiniteLoss
from fghash.training.within_epoch import EpochDraws

# Said by libraries at every run, about choices that fghash made on purpose.
_CHATTER = (
    ".*does not have many workers.*", ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists.*", ".*smaller than the logging interval.*",
    ".*GPU available but not used.*", ".*find_unused_parameters=True was.*",
    ".*Experiment logs directory.*", ".*lr_scheduler.step.*", ".*Trainer.fit. stopped.*", ".*max_epochs=0.*",
    ".*in eval mode at the start of training.*", ".*TF32.*", ".*across ranks is zero.*", ".*sync_dist=True.*",
    ".*all_gather is deprecated.*", ".*resuming from a checkpoint that ended before.*",
    ".*callbacks used to create the checkpoint need.*",
)  # fmt: skip


@dataclass(frozen=True)
class Devices:
    """What a run computes on: ``accelerator`` ``cpu`` or ``gpu``, how many processes, and the numbers of the
    GPUs where some were chosen.
    """

    accelerator: str
    count: int
    chosen: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.accelerator == "cpu":
            return "the CPU" if self.count == 1 else f"{self.count} CPU processes"
        if self.chosen:
            return f"GPU {', '.join(map(str, self.chosen))}"
        return "1 GPU" if self.count == 1 else f"{self.count} GPUs"


def choose_devices(gpus: int | tuple[int, ...] | None, cpus: int | None = None) -> Devices:
    """0 GPUs are the CPU, ``None`` every visible one or else the CPU; ``cpus`` are processes on the CPU.

    Raises:
        InputError: more GPUs are requested than exist (never a silent fallback), or both kinds.
    """
    if cpus is not None:
        if gpus:
            raise InputError(f"--cpus: {cpus} beside --gpus {gpus}, expected one of the two (--gpus 0)")
        return Devices("cpu", cpus)
    available = torch.cuda.device_count()
    if isinstance(gpus, tuple):
        if max(gpus) >= available:
            raise InputError(f"--gpus: {','.join(map(str, gpus))}, this machine has {available} GPUs")
        return Devices("gpu", len(gpus), gpus)
    if gpus is not None and not 0 <= gpus <= available:
        raise InputError(
            f"--gpus: {gpus} asked for, this machine has {available} "
            f"(allowed: 0 for the CPU, up to {available})"
        )
    wanted = available if gpus is None else gpus
    return Devices("gpu", wanted) if wanted else Devices("cpu", 1)


def build_trainer(
    folder: Path,
    devices: Devices,
    settings: dict[str, Any],
    *,
    seed: int,
    loggers: Sequence[Logger],
    validates: bool,
    checkpoint_seconds: float = 0.0,
    keeps: bool = True,
    watch: Callable[[float], None] | None = None,
    score_at: Sequence[float] = (),
    batch_size: int = 1,
    skips: int = 0,
) -> pl.Trainer:
    """A Trainer that checkpoints, reseeds every epoch, stops where a loss is no number, and selects on the
    validation split only.

    Args:
        folder: where checkpoints lie.
        settings: Lightning's own Trainer arguments, as the user gave them.
        validates: a validation split exists; ``val/map`` then picks the checkpoint.
        keeps: write checkpoints; without, the last weights are those that count.
        checkpoint_seconds: time between two checkpoints, within an epoch too; 0 is after every epoch.
        watch: is told now and then which part of the training is done.
        score_at: parts of the training after which ``val/map`` is kept, with ``batch_size`` images a batch.
        skips: batches without a finite loss that may be left out.

    Raises:
        InputError: Lightning refuses a setting.
    """
    _be_quiet()
    spent = Budget()
    finite = FiniteLoss(folder if keeps else None, skips)
    callbacks: list[pl.Callback] = [EpochDraws(seed), spent, EpochTerms(), finite]
    callbacks += [KeepLast(folder, checkpoint_seconds)] if keeps else []
    callbacks += [ValidationScore()] if validates else []
    callbacks += [SelectOnValidation(folder)] if validates and keeps else []
    callbacks += [ScoredBudgets(score_at, spent, batch_size)] if score_at else []
    callbacks += [Watched(watch)] if watch else []
    if loggers:
        callbacks.append(pl.callbacks.LearningRateMonitor(logging_interval="epoch"))
    settings = {**settings, "precision": _precision(settings.get("precision"))}
    several = devices.count * int(settings.get("num_nodes") or 1) > 1
    defaults = {
        "sync_batchnorm": several and devices.accelerator == "gpu",
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 10,
        "enable_model_summary": False,
    }
    try:
        trainer = pl.Trainer(
            **{**defaults, **settings},
            accelerator=devices.accelerator,
            devices=list(devices.chosen) or devices.count,
            strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
            callbacks=callbacks,
            logger=list(loggers),
            plugins=[SafeCheckpoints()],
            default_root_dir=str(folder),
            use_distributed_sampler=False,
            enable_checkpointing=keeps,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"--trainer: {str(error).strip().splitlines()[0]}") from error
    # Lightning's own handlers swallow a SIGTERM while it predicts; those of KeepLast are enough
    trainer._signal_connector.register_signal_handlers = _no_handlers  # type: ignore[method-assign]
    return trainer


def _no_handlers() -> None:
    """In place of Lightning's."""


def _precision(wanted: Any) -> Any:
    """``tf32`` is full precision to Lightning; torch then multiplies matrices of floats on tensor cores."""
    torch.set_float32_matmul_precision("high" if wanted == "tf32" else "highest")
    return "32-true" if wanted == "tf32" else wanted


def _be_quiet() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _CHATTER:
        warnings.filterwarnings("ignore", message=message)
