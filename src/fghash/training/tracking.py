"""Where a run is followed besides its own CSV (the only importer of wandb).

A run of the store is one run of W&B, under the run's id, however often it is killed: ``tracking.json`` in its
folder remembers what has been logged, so that the steps between the last checkpoint and the kill, which a
resumed training repeats, are not logged twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from fghash.settings.config import TrackingConfig

MEMORY = "tracking.json"
_ARTIFACTS = {"model": ("model.safetensors", "model.json", "config.yaml"), "codes": ("codes",)}
_BEST = "val/map"  # the metric whose maximum is the summary


@dataclass
class Memory:
    """What W&B has been told of a run: the last step, the best ``val/map``, and how often it began anew.

    ``synced``: whether it was uploaded when it was finished.
    """

    step: int = -1
    best: float | None = None
    begun: int = 1
    finished: bool = False
    synced: bool = False

    @classmethod
    def read(cls, folder: Path) -> Memory:
        """Of a run's folder; a finished training that is followed again is another run of W&B."""
        memory = cls.read_stored(folder)
        return cls(begun=memory.begun + 1) if memory.finished else memory

    @classmethod
    def read_stored(cls, folder: Path) -> Memory:
        """As it is on disk; of a run that is not followed, or damaged, a new one."""
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((folder / MEMORY).read_text(encoding="utf-8")))
        return cls()

    def write(self, folder: Path) -> None:
        """Without waiting for the disk: it need survive the process, not the machine."""
        temporary = folder / f".{MEMORY}.tmp"
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(folder / MEMORY)


@dataclass(frozen=True)
class Followed:
    """What trackers are told of a run: its folder, id, name for people, tags and kind of job.

    ``synced``: it is told of a run that has finished, from the store, under the id that it had.
    """

    folder: Path
    run_id: str
    name: str
    tags: tuple[str, ...] = ()
    job_type: str = "fit"
    synced: bool = False

    @classmethod
    def of(cls, folder: Path, method: str, data: str, bits: int, seed: int, synced: bool = False) -> Followed:
        """Of a run's folder, which has the run's id for a name, and what people know the run by."""
        name, tags = f"{method}-{data}-{bits}-{seed}", (method, data, f"{bits}bits")
        return cls(folder, folder.name, name, tags, synced=synced)


class ResumedWandbLogger(WandbLogger):
    """Logs each step once, over all attempts at a run."""

    def __init__(self, folder: Path, memory: Memory, **settings: Any) -> None:
        super().__init__(**settings)
        self.folder, self.memory, self._known = folder, memory, memory.step

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """What an earlier attempt has logged is left out."""
        if step is not None:
            if step <= self._known:
                return
            self.memory.step = max(self.memory.step, step)
            value = metrics.get(_BEST)
            if value is not None and (self.memory.best is None or value > self.memory.best):
                self.memory.best = float(value)
            self.memory.write(self.folder)
        super().log_metrics(dict(metrics), step)


def build_loggers(tracking: TrackingConfig, followed: Followed) -> list[Logger]:
    """The CSV that is always written, and what ``--tracking`` asks for."""
    loggers: list[Logger] = [CSVLogger(followed.folder, name="logs")]
    if "tensorboard" in tracking.name:
        loggers.append(TensorBoardLogger(followed.folder, name="tensorboard"))
    if "wandb" in tracking.name:
        loggers.append(_wandb(tracking, followed))
    return loggers


def _wandb(tracking: TrackingConfig, followed: Followed) -> Logger:
    folder = followed.folder
    memory = Memory.read(folder)
    offline = _offline(tracking.offline)
    if followed.synced:
        memory = Memory(begun=Memory.read_stored(folder).begun)
    memory.synced = not offline or followed.synced
    folder.mkdir(parents=True, exist_ok=True)
    again = "" if memory.begun == 1 else f"-{memory.begun}"
    return ResumedWandbLogger(
        folder,
        memory,
        project=tracking.project,
        entity=tracking.entity,
        group=tracking.group,
        tags=[*tracking.tags, *followed.tags],
        name=followed.name,
        id=f"{followed.run_id}{again}",
        resume="allow",
        save_dir=str(folder),
        job_type=followed.job_type,
        **({"mode": "offline"} if offline else {}),
    )


def _offline(asked: bool | None) -> bool:
    """What was requested; otherwise offline where W&B itself, self-hosted or not, knows no key."""
    if asked is not None:
        return asked
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return True
    return not knows_key()


def knows_key() -> bool:
    """Whether W&B has a key for its server, from wherever it looks for one; nothing is sent."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def follows(loggers: Sequence[Logger]) -> bool:
    """Whether one of them is W&B's."""
    return any(isinstance(logger, ResumedWandbLogger) for logger in loggers)


def log_config(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """The resolved configuration, once, nested as it is."""
    for logger in loggers:
        logger.log_hyperparams(dict(config))


def log_scores(loggers: Sequence[Logger], rows: Sequence[Mapping[str, Any]]) -> None:
    """One row per stored record: as ``test/<score>`` of the first, and as a table of W&B of all."""
    first = {f"test/{key}": float(value) for key, value in rows[0].items() if isinstance(value, int | float)}
    for logger in loggers:
        logger.log_metrics(first)
        if isinstance(logger, ResumedWandbLogger):
            columns = list(rows[0])
            logger.log_table(
                "scores", columns=columns, data=[[row.get(column) for column in columns] for row in rows]
            )
            _summarise(logger, first)
        logger.save()
        logger.finalize("success")


def log_curve(loggers: Sequence[Logger], curve: Mapping[str, np.ndarray]) -> None:
    """Precision and recall among the first n items, as a table with a plot."""
    for logger in loggers:
        if isinstance(logger, ResumedWandbLogger):
            import wandb

            names = ("n", "precision", "recall")
            table = wandb.Table(
                columns=list(names),
                data=[list(map(float, row)) for row in zip(*map(curve.get, names), strict=True)],  # type: ignore[arg-type]
            )
            plot = wandb.plot.line(table, "recall", "precision", title="precision against recall")
            logger.experiment.log({"curve": table, "precision_recall": plot})


@dataclass(frozen=True)
class Retrieval:
    """A query and its first items: images (h, w, 3) bytes, names of classes, and which are right."""

    query: np.ndarray
    query_class: str
    items: Sequence[np.ndarray]
    item_classes: Sequence[str]


def log_retrievals(loggers: Sequence[Logger], found: Sequence[Retrieval]) -> None:
    """A table of queries with the images that were found for them."""
    for logger in loggers:
        if isinstance(logger, ResumedWandbLogger) and found:
            import wandb

            columns: list[str | int] = [
                "query",
                "class",
                *(f"item {i + 1}" for i in range(len(found[0].items))),
            ]
            table = wandb.Table(columns=columns)
            for each in found:
                table.add_data(*_images_of(each))
            logger.experiment.log({"retrievals": table})


def _images_of(found: Retrieval) -> list[Any]:
    """A row of the table: the query, its class, and its items with what is right and wrong."""
    import wandb

    asked = found.query_class
    items = [
        wandb.Image(image, caption=f"{'right' if name == asked else 'wrong'}: {name}")
        for image, name in zip(found.items, found.item_classes, strict=True)
    ]
    return [wandb.Image(found.query, caption=asked), asked, *items]


def log_artifacts(loggers: Sequence[Logger], followed: Followed, data: Mapping[str, Any]) -> None:
    """The lineage: data (its fingerprint, no images) -> run -> model and codes."""
    for logger in loggers:
        if not isinstance(logger, ResumedWandbLogger):
            continue
        import wandb

        used = wandb.Artifact(f"data-{data['fingerprint']}", type="dataset", metadata=dict(data))
        run = logger.experiment
        if run.settings.mode == "online":
            run.use_artifact(used)
        else:
            run.log_artifact(used)  # what is offline cannot use one
        for kind, names in (
            ("model", ("model.safetensors", "model.json", "config.yaml")),
            ("codes", ("codes",)),
        ):
            artifact = wandb.Artifact(f"{kind}-{followed.run_id}", type=kind)
            for path in (followed.folder / name for name in names):
                if path.is_dir():
                    artifact.add_dir(str(path), name=path.name)
                elif path.is_file():
                    artifact.add_file(str(path))
            run.log_artifact(artifact)


def finish(loggers: Sequence[Logger]) -> None:
    """Close what is followed; the next training of this run, if any, is another run of W&B."""
    for logger in loggers:
        if isinstance(logger, ResumedWandbLogger):
            logger.experiment.finish()
            logger.memory.finished = True
            logger.memory.write(logger.folder)


def _summarise(logger: ResumedWandbLogger, scores: Mapping[str, float]) -> None:
    """Said outright: after a resume ``define_metric`` alone summarises the last attempt (wandb 9684)."""
    summary = logger.experiment.summary
    summary.update(dict(scores))
    if logger.memory.best is not None:
        summary.update({f"{_BEST}_max": logger.memory.best})
