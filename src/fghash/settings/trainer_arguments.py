"""What becomes of each argument of Lightning's Trainer: set by fghash, refused, or passed on."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from typing import Any

from fghash.errors import InputError
from fghash.settings.numbers import short

# Set by fghash itself, and what to use in their place.
OWNED = {
    "devices": "use --gpus",
    "accelerator": "use --gpus (0 is the CPU)",
    "strategy": "use --gpus (several GPUs train by DDP)",
    "logger": "use --tracking",
    "callbacks": "use --data.validation (the best checkpoint) or --tracking",
    "default_root_dir": "use --runs",
    "plugins": "use --trainer.precision",
    "use_distributed_sampler": "the loaders shard themselves over --gpus",
    "enable_checkpointing": "a killed run resumes from its checkpoint",
    "model_registry": "use --tracking",
    "enable_autolog_hparams": "use --tracking",
}

# Refused: they would make a row of something else than what the settings say.
REFUSED = {
    "limit_predict_batches": "queries and gallery are always encoded whole",
    "limit_test_batches": "queries and gallery are always encoded whole",
    "fast_dev_run": "for a quick try use --trainer.max_epochs 1 --trainer.limit_train_batches 1",
    "overfit_batches": "for a quick try use --trainer.limit_train_batches",
    "barebones": "it switches off the checkpoints that a killed run resumes from",
    "reload_dataloaders_every_n_epochs": "the loaders draw a new order every epoch by themselves",
}

# Passed on; part of a run's identity, because they change what is learned.
IDENTITY = frozenset(
    {
        "precision", "max_epochs", "min_epochs", "max_steps", "min_steps", "limit_train_batches",
        "limit_val_batches", "val_check_interval", "check_val_every_n_epoch", "accumulate_grad_batches",
        "gradient_clip_val", "gradient_clip_algorithm", "sync_batchnorm",
    }
)  # fmt: skip

# Passed on; they change neither the codes nor their meaning. A run that max_time cut says so in its record.
NEUTRAL = frozenset(
    {
        "num_nodes", "max_time", "num_sanity_val_steps", "log_every_n_steps", "enable_progress_bar",
        "enable_model_summary", "deterministic", "benchmark", "inference_mode", "profiler", "detect_anomaly",
    }
)  # fmt: skip

_LEAST = {  # of numbers; -1 stands for "without end" where it is allowed
    "max_epochs": -1, "min_epochs": 0, "max_steps": -1, "min_steps": 0, "limit_val_batches": 0,
    "check_val_every_n_epoch": 1, "accumulate_grad_batches": 1, "gradient_clip_val": 0, "num_nodes": 1,
    "num_sanity_val_steps": -1, "log_every_n_steps": 0,
}  # fmt: skip
_CHOICES = {
    "gradient_clip_algorithm": ("norm", "value"),
    "profiler": ("simple", "advanced", "pytorch", "xla"),
}
_LAUNCHERS = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "WORLD_SIZE")
_TIME = re.compile(r"\d+:\d\d:\d\d:\d\d")
_BATCHES = ("limit_train_batches", "limit_val_batches", "val_check_interval")  # 1 is a batch, 1.0 all of them
_NEEDS = {"transformer-engine": "transformer_engine", "bitsandbytes": "bitsandbytes"}


def as_written(key: str, value: Any) -> Any:
    """A number of batches as it was written: ``1`` is one batch, ``1.0`` a share of all.

    >>> as_written("limit_train_batches", "1"), as_written("limit_train_batches", "0.5")
    (1, 0.5)
    """
    text = str(value).strip()
    if key not in _BATCHES or isinstance(value, bool):
        return value
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return value


def refuse(key: str, value: Any, label: str) -> None:
    """Refuse an argument that fghash sets, or a precision whose package is missing.

    Raises:
        InputError: naming what to use instead.
    """
    if key in OWNED:
        raise InputError(f"{label}: this is set by fghash, {OWNED[key]}")
    if key in REFUSED:
        raise InputError(f"{label}: not available, {REFUSED[key]}")
    _refuse_number(key, as_written(key, value), label)
    if key in _CHOICES and value is not None and str(value) not in (*_CHOICES[key], "null"):
        raise InputError(f"{label}: expected {', '.join(_CHOICES[key])} or null, got {short(value)}")
    if key == "max_time" and isinstance(value, str) and value != "null" and not _TIME.fullmatch(value):
        raise InputError(f"{label}: expected DD:HH:MM:SS, got {short(value)}")
    if key == "precision":
        for word, package in _NEEDS.items():
            if word in str(value) and importlib.util.find_spec(package) is None:
                raise InputError(f"{label}: '{value}' needs the package {package}, which is not installed")


def _refuse_number(key: str, value: Any, label: str) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return  # not a number: the check of types says so
    if key in _LEAST and number < _LEAST[key]:
        raise InputError(f"{label}: expected at least {_LEAST[key]}, got {short(value)}")
    if key in ("limit_train_batches", "val_check_interval") and number <= 0:
        raise InputError(f"{label}: expected a number of batches or a share above 0, got {short(value)}")
    if key in _BATCHES and isinstance(value, float) and not 0 <= number <= 1:
        raise InputError(f"{label}: expected a share from 0 to 1 or a whole number, got {short(value)}")
    if key == "num_nodes" and number > 1 and not any(name in os.environ for name in _LAUNCHERS):
        raise InputError(
            f"{label}: {short(value)}, but this process was started by no launcher; "
            "start it with torchrun or srun"
        )


def refuse_no_end(trainer: Mapping[str, Any]) -> None:
    """Refuse a training without an end.

    Raises:
        InputError: endless epochs, and neither a number of steps nor a time.
    """
    if trainer.get("max_epochs") == -1 and trainer.get("max_steps", -1) == -1:
        raise InputError("--trainer.max_epochs: -1 without --trainer.max_steps (one must be a number)")


def refuse_no_validation(trainer: Mapping[str, Any], validation: float) -> None:
    """Refuse a training that would end without the checkpoint that its validation split is to choose.

    Raises:
        InputError: validation would never run.
    """
    epochs, every = trainer.get("max_epochs"), trainer.get("check_val_every_n_epoch") or 1
    if not validation or epochs == 0:
        return
    if trainer.get("limit_val_batches") == 0:
        raise InputError(
            "--trainer.limit_val_batches: 0, expected at least 1 with --data.validation "
            "(no epoch could be selected)"
        )
    if epochs is not None and 0 < int(epochs) < int(every):
        raise InputError(
            f"--trainer.check_val_every_n_epoch: {every}, expected at most --trainer.max_epochs {epochs} "
            "with --data.validation (no epoch could be selected)"
        )
