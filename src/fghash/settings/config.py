"""What a run is made of, as frozen values; this module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fghash.errors import InputError
from fghash.settings.trainer_arguments import NEUTRAL


@dataclass(frozen=True)
class BackboneConfig:
    """A timm network and where its weights come from.

    Args:
        name: name of the timm model.
        weights: ``none`` (random), ``pretrained`` (timm's own download) or the path of a ``.safetensors`` or
            weights-only ``.pth`` file.
        options: passed to ``timm.create_model``, each as ``--backbone.options.KEY VALUE``.
        freeze: ``none``; a level from 1 to 4, up to which the network is not trained; or ``all`` of it.
        freeze_batchnorm: keep the batch statistics of the starting weights during training.
        mean: of the images that the weights were trained on, a channel each, of values in [0, 1]; ``null`` is
            what timm says of the network.
        std: their standard deviation; ``null`` likewise.
        channels_last: memory layout of its convolutions, on CPUs and tensor cores the faster one.
        compile: compile its stages with ``torch.compile`` (needs a C++ compiler; a few minutes at the start).
    """

    name: str = "test_resnet"
    weights: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    freeze: int | Literal["none", "all"] = "none"
    freeze_batchnorm: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channels_last: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        if self.freeze not in ("none", "all", 1, 2, 3, 4) or isinstance(self.freeze, bool):
            raise InputError(
                f"--backbone.freeze: {self.freeze!r}, expected none, a level from 1 to 4, or all"
            )
        if self.std is not None and not all(value > 0 for value in self.std):
            raise InputError(f"--backbone.std: {list(self.std)}, expected three numbers above 0")


_OPTIM_RANGES = (
    ("lr", 0, 1e6), ("head_multiple", 0, 1e6), ("momentum", 0, 1), ("weight_decay", 0, 1e6),
    ("step_size", 1, 2**31), ("gamma", 0, 1e6), ("milestones", 0, 1), ("warmup", 0, 1),
)  # fmt: skip


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning-rate schedule.

    Args:
        name: the optimiser.
        lr: learning rate of the backbone.
        head_multiple: new sources learn at ``lr * head_multiple``.
        momentum: of sgd.
        nesterov: Nesterov's variant of sgd's momentum.
        weight_decay: of all parameters.
        schedule: ``constant``, ``cosine`` (to zero, per step), ``step`` (x ``gamma`` every ``step_size``
            optimiser steps) or ``milestones`` (x ``gamma`` at each of ``milestones``).
        step_size: optimiser steps between two drops of ``step``.
        gamma: factor of a drop.
        milestones: fractions of the training at which ``milestones`` drops.
        warmup: fraction of all steps with a linearly growing rate.
    """

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr: float = 0.01
    head_multiple: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["constant", "cosine", "step", "milestones"] = "cosine"
    step_size: int = 2000
    gamma: float = 0.1
    milestones: tuple[float, ...] = (0.6, 0.85)
    warmup: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in _OPTIM_RANGES:
            value = getattr(self, name)
            values = value if isinstance(value, tuple | list) else (value,)
            if not all(low <= float(each) <= high for each in values):
                raise InputError(f"--optim.{name}: {value}, expected numbers from {low:g} to {high:g}")


@dataclass(frozen=True)
class TrackingConfig:
    """Where a run is followed besides the CSV that is always written.

    Args:
        name: any of ``wandb``, ``tensorboard``.
        project: project of Weights & Biases.
        entity: its user or team.
        group: its group of runs.
        tags: its tags.
        offline: keep the record on this machine; ``null`` means so where no key is known.
    """

    name: tuple[str, ...] = ()
    project: str = "fghash"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    offline: bool | None = None


@dataclass(frozen=True)
class Choice:
    """Something chosen by name, with its settings (every parameter of its class, defaults filled in)."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunConfig:
    """Everything that ``fghash fit`` was asked to do, resolved.

    ``trainer`` holds those of Lightning's own Trainer arguments that are not at its defaults, so that a run
    has one name however it was spelt. ``differs`` lists the scientific settings that differ from the preset,
    as ``key=value``. ``gpus``: how many, 0 for the CPU, the numbers of some, or ``None`` for all that are
    visible; ``cpus``: processes on the CPU, in place of GPUs. ``store_embeddings``: whether the real
    embeddings are stored; ``None``: where they take less than 200 MB.
    ``checkpoint_minutes``: of training that a killed run may lose; 0 keeps every epoch. ``on_nan``: batches
    without a finite loss that may be left out before the training stops. ``score_at``: parts of the training
    after which ``val/map`` is stored beside the image passes so far. ``trials``: of
    the tuned preset. ``asked``: the dotted keys that the user set.
    """

    method: Choice
    data: Choice
    backbone: BackboneConfig = BackboneConfig()
    optim: OptimConfig = OptimConfig()
    trainer: Mapping[str, Any] = field(default_factory=dict)
    tracking: TrackingConfig = TrackingConfig()
    bits: int = 32
    batch_size: int = 64
    gpus: int | tuple[int, ...] | None = None
    cpus: int | None = None
    seed: int = 0
    runs: Path = Path("runs")
    preset: str = "default"
    cutoffs: tuple[int, ...] = (1, 10, 100)
    store_embeddings: bool | None = None
    checkpoint_minutes: float = 10.0
    on_nan: int = 0
    score_at: tuple[float, ...] = ()
    force: bool = False
    differs: tuple[str, ...] = ()
    trials: int | None = field(default=None, compare=False)
    asked: frozenset[str] = field(default=frozenset(), compare=False)


TRACKERS = ("wandb", "tensorboard")

# Settings of a data set that change neither the codes nor their meaning: where things lie, how fast.
_NEUTRAL_DATA = {"root", "num_workers", "cache", "pin_memory", "download", "title", "features", "views"}


def scientific(config: RunConfig) -> dict[str, Any]:
    """What determines the codes, seed included, as plain nested values (run ids and variants are made of it).

    Weights count by content, not by path: the pipeline adds their hash and the data's fingerprint.
    """
    return {
        "method": {"name": config.method.name, **config.method.settings},
        "data": {"name": config.data.name, **_data_science(config.data.settings)},
        "backbone": {
            "name": config.backbone.name,
            "options": dict(config.backbone.options),
            "freeze": config.backbone.freeze,
            "freeze_batchnorm": config.backbone.freeze_batchnorm,
            "mean": config.backbone.mean,
            "std": config.backbone.std,
        },
        "optim": asdict(config.optim),
        "trainer": {key: value for key, value in config.trainer.items() if key not in NEUTRAL},
        "bits": config.bits,
        "batch_size": config.batch_size,
        "seed": config.seed,
    }


def plain(value: Any) -> Any:
    """``value`` in YAML's own kinds: mappings as dicts, sequences as lists, paths as text.

    >>> plain({"cutoffs": (1, 10), "runs": Path("runs")})
    {'cutoffs': [1, 10], 'runs': 'runs'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value + 0.0  # a negative zero is zero
    return value if isinstance(value, str | int | None) else str(value)


def _data_science(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the caches only what they change: training crops are then drawn on images scaled to the stored size,
    and features are rounded to float16 and come in so many views.
    """
    kept = {key: value for key, value in settings.items() if key not in _NEUTRAL_DATA}
    if settings.get("cache") is not None and settings.get("crop", "random_resized") == "random_resized":
        kept["crops_of"] = "scaled images"
    if settings.get("features") is not None:
        kept["features"], kept["views"] = "float16", settings.get("views", 1)
    return kept


def document(config: RunConfig) -> dict[str, Any]:
    """The whole of a run's configuration as plain nested values, in the order a reader expects.

    As YAML it is what ``--print_config`` prints and what alone re-runs the run.
    """
    whole = {
        "method": {"name": config.method.name, **config.method.settings},
        "data": {"name": config.data.name, **config.data.settings},
        "backbone": asdict(config.backbone),
        "bits": config.bits,
        "batch_size": config.batch_size,
        "optim": asdict(config.optim),
        "trainer": config.trainer,
        "tracking": asdict(config.tracking),
        "gpus": config.gpus,
        **({} if config.cpus is None else {"cpus": config.cpus}),
        "seed": config.seed,
        "cutoffs": config.cutoffs,
        "store_embeddings": config.store_embeddings,
        "checkpoint_minutes": config.checkpoint_minutes,
        "on_nan": f"skip {config.on_nan}" if config.on_nan else "stop",
        "score_at": config.score_at,
        "runs": config.runs,
        "preset": config.preset,
    }
    return {key: plain(value) for key, value in whole.items()}
