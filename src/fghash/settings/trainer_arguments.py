"""What becomes of each argument of Lightning's Trainer: set by fghash, refused, or passed on."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

from fghash.errors import InputError

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
    if key == "precision":
        for word, package in _NEEDS.items():
            if word in str(value) and importlib.util.find_spec(package) is None:
                raise InputError(f"{label}: '{value}' needs the package {package}, which is not installed")


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
