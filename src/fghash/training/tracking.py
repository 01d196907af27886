"""Where a run is followed besides its own CSV (the only importer of wandb)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from fghash.settings.config import TrackingConfig


def build_loggers(tracking: TrackingConfig, folder: Path, name: str, run_id: str) -> list[Logger]:
    """The CSV that is always written, and what ``--tracking`` asks for."""
    loggers: list[Logger] = [CSVLogger(folder, name="logs")]
    if "tensorboard" in tracking.name:
        loggers.append(TensorBoardLogger(folder, name="tensorboard"))
    if "wandb" in tracking.name:
        loggers.append(_wandb(tracking, folder, name, run_id))
    return loggers


def _wandb(tracking: TrackingConfig, folder: Path, name: str, run_id: str) -> Logger:
    """A W&B run of its own for each attempt at a run, grouped by the run's id: an existing one is never
    overwritten.
    """
    return WandbLogger(
        project=tracking.project,
        entity=tracking.entity,
        group=tracking.group or run_id,
        tags=list(tracking.tags),
        name=name,
        save_dir=str(folder),
        offline=_offline(tracking.offline),
        job_type="fit",
    )


def _offline(asked: bool | None) -> bool:
    """What was requested; otherwise offline where no key is known."""
    if asked is not None:
        return asked
    if os.environ.get("WANDB_MODE") == "offline":
        return True
    return os.environ.get("WANDB_API_KEY") is None and _stored_key() is None


def _stored_key() -> str | None:
    """The key that ``wandb login`` left in the user's netrc file, if any."""
    import netrc

    path = Path(os.environ.get("NETRC", Path.home() / (".netrc" if os.name != "nt" else "_netrc")))
    try:
        found = netrc.netrc(path).authenticators("api.wandb.ai")
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None


def log_config(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """The resolved configuration, once."""
    for logger in loggers:
        logger.log_hyperparams(dict(config))


def log_scores(loggers: Sequence[Logger], rows: Sequence[Mapping[str, Any]]) -> None:
    """The final table: one row per stored record, as ``test/<score>`` of the first and as a W&B table of
    all.
    """
    first = {f"test/{key}": float(value) for key, value in rows[0].items() if isinstance(value, int | float)}
    for logger in loggers:
        logger.log_metrics(first)
        if isinstance(logger, WandbLogger):
            columns = list(rows[0])
            logger.log_table(
                "scores", columns=columns, data=[[row.get(column) for column in columns] for row in rows]
            )
        logger.save()
        logger.finalize("success")
    _finish(loggers)


def _finish(loggers: Sequence[Logger]) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
