"""The flow: prepare -> train -> encode -> score -> store."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import timm
import torch
import torchvision
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities import rank_zero_only

from fghash.backbone import GIVEN, Backbone, GivenFeatures
from fghash.data.datamodule import RetrievalDataModule
from fghash.display import harmless
from fghash.encoding import EncodedSplit, encode
from fghash.errors import InputError, Stopped
from fghash.evaluation import RetrievalProtocol
from fghash.feature_cache import FeatureJob, check_frozen, use_cached_features
from fghash.files import full_disk
from fghash.following import log_results
from fghash.methods.base import HashingMethod
from fghash.registry import DATASETS, METHODS, look_up
from fghash.scoring import Galleries, Scored, score, search_milliseconds
from fghash.settings.adaptation import DataFacts, adapted
from fghash.settings.config import BackboneConfig, RunConfig, document, scientific
from fghash.settings.identity import group_id, run_id
from fghash.store import Record, RunFolder, environment, require_writable
from fghash.store.rescore import rescore
from fghash.store.upkeep import FAILURE, write_checksums
from fghash.training.callbacks import BEST, Budget, ScoredBudgets
from fghash.training.checkpoints import read_checkpoint
from fghash.training.fitting import fit_closed_form
from fghash.training.last_checkpoint import LAST
from fghash.training.lean_loop import use_lean_loop
from fghash.training.model_files import save_model
from fghash.training.non_finite import FAILED, FiniteLoss
from fghash.training.signals import ending_on_sigterm
from fghash.training.tracking import Followed, build_loggers, finish, log_config, log_scores
from fghash.training.trainer import Devices, build_trainer, choose_devices

Say = Callable[[str], None]
Watch = Callable[[float], None]
Kind = TypeVar("Kind")
OWN_IMAGES = ("folder", "csv", "lists", "features")
_LOST = ("gloo", "NCCL", "closed by peer", "reset by peer")  # of errors about a process that is gone
_OF_STEPS = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
EMBEDDINGS_LIMIT = 200 * 10**6  # bytes of real embeddings that are stored unless requested


@dataclass(frozen=True)
class Run:
    """A run about to happen: its parts, its folder, its names, and who is told how it goes.

    ``watch`` is told now and then which part of the training is done, from 0 to 1.
    """

    config: RunConfig
    data: RetrievalDataModule
    method: HashingMethod
    protocol: RetrievalProtocol
    folder: RunFolder
    group: str
    say: Say
    watch: Watch | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished run: ``status`` is ``trained``, ``finished before`` or ``scored again``.

    ``first``: whether this is the process that stores and reports; the others have no records.
    """

    folder: RunFolder
    protocol: RetrievalProtocol
    status: str
    first: bool

    @property
    def records(self) -> list[Record]:
        """The records under the run's protocol."""
        return self.folder.records(self.protocol.name) if self.first else []


def silent(text: str) -> None:
    """Tell nobody."""


def fit(config: RunConfig, say: Say = silent, watch: Watch | None = None) -> Outcome:
    """Train, encode, evaluate and store; a finished run is only found, or scored again under new cutoffs.

    Args:
        config: the resolved settings.
        say: is told in a line what happens, on the first process only.
        watch: is told now and then which part of the training is done, from 0 to 1.

    Raises:
        InputError: something in ``config`` cannot be had; nothing on disk was changed.
    """
    with ending_on_sigterm():
        return _fit(config, say, watch)


def _fit(config: RunConfig, say: Say, watch: Watch | None) -> Outcome:
    devices = choose_devices(config.gpus, config.cpus)
    run = replace(prepare(config, say if _first() else silent), watch=watch if _first() else None)
    require_writable(config.runs)
    if run.folder.records() and not config.force and not _goes_on(run):
        return Outcome(run.folder, run.protocol, _finished(run), _first())
    with run.folder.lock() if _first() else nullcontext(), full_disk("runs", run.folder.path):
        if _first():
            run.folder.tidy()
        run.say(
            f"{config.method.name} on {config.data.name} ({run.data.description}), "
            f"{config.bits} bits, on {devices}"
        )
        _train_and_store(run, devices)
    return Outcome(run.folder, run.protocol, "trained", _first())


def _goes_on(run: Run) -> bool:
    """Whether an earlier run was cut by time, and this one has no such limit: it trains on."""
    cut = any(record.stopped_by_time for record in run.folder.records())
    return cut and not run.config.force and not run.config.trainer.get("max_time")


def _finished(run: Run) -> str:
    """An earlier run with these settings; under new cutoffs its codes are scored again."""
    run.say(f"finished before: {run.folder.path} (--force trains again)")
    if run.folder.is_finished(run.protocol.name):
        return "finished before"
    if _first():
        rescore(run.folder.path, run.protocol)
    return "scored again"


def prepare(config: RunConfig, say: Say = silent, with_queries: bool = True) -> Run:
    """Build the parts of a run and give it its name; trains and writes nothing."""
    method_class = look_up(METHODS, config.method.name, "method").load()
    method_class.allows_bits(config.bits, **config.method.settings)
    data = build_data(config, with_queries)
    _warn_of_random_weights(config, data, say)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    if METHODS[config.method.name].closed_form and data.given_width is None:  # nothing of the network learns
        config = replace(config, backbone=replace(config.backbone, freeze="all"))
    backbone = build_backbone(config, data)
    config = replace(config, backbone=backbone.config)
    method = _build_method(method_class, config, backbone, data.num_classes)
    if data.features is not None:
        check_frozen(FeatureJob(backbone, data, method.reads))
    _refuse_what_has_no_steps(config, method)
    config = _adapted(config, data, method, say)
    science, weights = scientific(config), backbone.weights_hash
    name = run_id(science, data.fingerprint, weights)
    folder = RunFolder.at(config.runs, config.data.name, config.method.name, config.bits, name)
    protocol = RetrievalProtocol(cutoffs=tuple(config.cutoffs))
    return Run(config, data, method, protocol, folder, group_id(science, data.fingerprint, weights), say)


def build_backbone(config: RunConfig, data: RetrievalDataModule) -> Backbone:
    """The network; where the data are vectors already, what stands in its place."""
    if data.given_width is None:
        return Backbone(config.backbone, data.image_size, rounds=data.features is not None)
    if config.backbone != BackboneConfig() and config.backbone.name != GIVEN:
        raise InputError(
            f"--backbone: {config.backbone.name} with settings of its own, expected none with --data "
            f"{config.data.name}, whose vectors a network gave already"
        )
    return GivenFeatures(data.given_width)


def _build_method(
    method_class: type[HashingMethod], config: RunConfig, backbone: Backbone, num_classes: int
) -> HashingMethod:
    """The method; settings that its layers cannot have are one line."""
    try:
        return method_class(backbone, num_classes, config.bits, config.optim, **config.method.settings)
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"--method: {config.method.name} cannot be built with its settings: {reason}"
        ) from error


def _refuse_what_has_no_steps(config: RunConfig, method: HashingMethod) -> None:
    """Settings of the loop over steps, for a method that has none or makes its own."""
    asked = [key for key in _OF_STEPS if f"trainer.{key}" in config.asked and config.trainer.get(key)]
    if asked and (method.closed_form or not method.automatic_optimization):
        why = (
            "it is fitted in closed form, without steps"
            if method.closed_form
            else "it has several optimisers, and steps of its own"
        )
        value = config.trainer[asked[0]]
        raise InputError(f"--trainer.{asked[0]}: {value}, {config.method.name} cannot: {why}")


def _adapted(config: RunConfig, data: RetrievalDataModule, method: HashingMethod, say: Say) -> RunConfig:
    """Settings of the preset that the data cannot give are adapted; the data module then has them too."""
    order = method.train_sampler(data.train_labels)
    n_items = len(data.train_labels) if order is None else len(order)  # type: ignore[arg-type]
    facts = DataFacts(n_items, len(np.unique(data.train_labels, axis=0)), data.train_labels.ndim > 1)
    changed, lines = adapted(config, facts)
    for line in lines:
        say(f"warning: {line}")
    data.batch_size, data.train_order = changed.batch_size, order
    settings = changed.data.settings
    data.sampler = settings.get("sampler", data.sampler)
    data.classes_per_batch = settings.get("classes_per_batch", data.classes_per_batch)
    data.train_dataloader()  # refuses a batch that cannot be filled, before anything is written
    return changed


def build_data(config: RunConfig, with_queries: bool = True) -> RetrievalDataModule:
    """The data module, set up; tuning has it without the queries, which are then never read."""
    data_class = look_up(DATASETS, config.data.name, "data").load()
    data: RetrievalDataModule = data_class(
        **config.data.settings, batch_size=config.batch_size, training_seed=config.seed
    )
    data.with_queries = with_queries
    data.prepare_data()
    data.setup("fit")
    return data


def _warn_of_random_weights(config: RunConfig, data: RetrievalDataModule, say: Say) -> None:
    needs_root = DATASETS[config.data.name].needs_root
    if config.backbone.weights == "none" and needs_root and data.given_width is None:
        say(
            f"warning: --backbone.weights: none, so '{config.backbone.name}' starts from random weights; "
            "published results start from pretrained ones (pretrained, or the path of a file)"
        )


def _train_and_store(run: Run, devices: Devices) -> None:
    cache_features(run, devices)
    started = time.time()
    config = run.config
    names = (config.method.name, config.data.name, config.bits, config.seed)
    followed = Followed.of(run.folder.path, *names)
    loggers = build_loggers(run.config.tracking, followed)
    trainer = build_trainer(
        run.folder.checkpoints, devices, dict(run.config.trainer),
        seed=run.config.seed, loggers=loggers, validates=run.data.validation > 0,
        checkpoint_seconds=60 * run.config.checkpoint_minutes, watch=run.watch,
        score_at=run.config.score_at, batch_size=run.config.batch_size, skips=run.config.on_nan,
    )  # fmt: skip
    log_config(loggers, document(run.config))
    if _first():
        _write_config(run)  # fghash replay reads it, should the training fail
    with _together(trainer):
        train(trainer, run)
        trained = time.time()
        queries, gallery = encode(trainer, run.method, run.data)
    if not trainer.is_global_zero:
        return  # the first process scores, after the others have left
    encoded = time.time()
    run.folder.withdraw()  # scores of an earlier training (--force) would not be of these codes
    galleries = Galleries(queries, gallery, _learned(run))
    lengths, families = run.method.code_lengths(), run.data.families
    scored = [_stored(run, each) for each in score(galleries, lengths, run.protocol, families)]
    spent = budget(trainer, run, trained - started)
    records = [_record(run, each, spent) for each in scored]
    seconds = {"fit": trained - started, "encode": encoded - trained, "evaluate": time.time() - encoded}
    search = {
        f"{each.bits}-{each.gallery_codes}": search_milliseconds(each, queries.labels, gallery.labels)
        for each in scored
    }
    _store(run, queries, gallery, trainer, {"seconds": seconds, "search_ms_per_query": search})
    write_checksums(run.folder.path)
    for record in records:
        run.folder.write_record(record)
    run.folder.finish(run.protocol.name)
    log_scores(loggers, [{**record.scores, "gallery_codes": record.gallery_codes} for record in records])
    log_results(loggers, followed, run.data, scored[0], run.config.data.name)
    finish(loggers)


@contextmanager
def _together(trainer: pl.Trainer) -> Iterator[None]:
    """Where this process ends early, so do those that it started: they would wait for it."""
    try:
        yield
    except BaseException as error:
        launcher = trainer.strategy.launcher
        if launcher is not None and not (isinstance(error, Stopped) and error.kept):  # then they know
            launcher.kill(signal.SIGTERM)
        raise


def cache_features(run: Run, devices: Devices) -> None:
    """With ``--data.features`` the data give cached features from here on."""
    if run.data.features is not None:
        device = torch.device("cuda" if devices.accelerator == "gpu" else "cpu")
        job = FeatureJob(run.method.backbone, run.data, run.method.reads, device)
        use_cached_features(job, run.data.features, run.say)


def train(trainer: pl.Trainer, run: Run) -> None:
    """Train from the last checkpoint if a killed run left one; end with the weights that are to be scored."""
    if run.method.closed_form:
        fit_closed_form(trainer, run.method, run.data)
        return
    last = run.folder.checkpoints / LAST
    resumes = last.is_file() and (not run.folder.records() or _goes_on(run))
    if resumes:
        run.say(f"resuming from {last} (epoch {read_checkpoint(last)['epoch'] + 1})")
    use_lean_loop(trainer, run.method)
    with _trainer_errors(trainer, run, last if resumes else None):
        trainer.fit(run.method, datamodule=run.data, ckpt_path=str(last) if resumes else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if run.data.validation and trainer.max_epochs != 0:
        best = read_checkpoint(run.folder.checkpoints / BEST)
        run.method.on_load_checkpoint(best)
        run.method.load_state_dict(best["state_dict"])
    if _first():
        for name in (FAILED, FAILURE):  # of an earlier attempt that stopped
            (run.folder.checkpoints / name).unlink(missing_ok=True)


@contextmanager
def _trainer_errors(trainer: pl.Trainer, run: Run, resumed: Path | None) -> Iterator[None]:
    """What Lightning says of settings, of a checkpoint that does not fit and of lost processes, in a line."""
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(f"--trainer: {str(error).strip().splitlines()[0]}") from error
    except (InputError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "val_check_interval" in str(error):
            interval = run.config.trainer.get("val_check_interval")
            raise InputError(
                f"--trainer.val_check_interval: {interval}, expected at most the "
                f"{trainer.num_training_batches} batches of an epoch"
            ) from error
        if trainer.world_size > 1 and any(word in str(error) for word in _LOST):
            raise InputError(
                f"processes: one of the {trainer.world_size} of this training has ended (its own message "
                "says why); the same command resumes from the last checkpoint"
            ) from error
        if resumed is not None and not _began(trainer):
            raise InputError(
                f"checkpoint: {resumed} does not fit this run ({reason}); remove it, or use --force"
            ) from error
        raise


def _began(trainer: pl.Trainer) -> bool:
    """Whether the training itself had begun, all checkpoints being read."""
    return any(each.began for each in _callbacks(trainer, Budget))


def _callbacks(trainer: pl.Trainer, kind: type[Kind]) -> list[Kind]:
    """Those of a kind."""
    return [each for each in trainer.callbacks if isinstance(each, kind)]  # type: ignore[attr-defined]


def budget(trainer: pl.Trainer, run: Run, seconds: float) -> dict[str, Any]:
    """What the training cost, as fields of a record."""
    if run.method.closed_form:
        return {"image_passes": len(run.data.train_labels), "train_seconds": round(seconds, 3)}
    (spent,) = _callbacks(trainer, Budget)
    limits = _callbacks(trainer, pl.callbacks.Timer)
    epochs = spent.batches // max(1, int(trainer.num_training_batches))
    ended = epochs >= (trainer.max_epochs or 0)
    return {
        "epochs": epochs,
        "image_passes": spent.batches * run.config.batch_size,
        "batch_size": run.config.batch_size,
        "train_seconds": round(spent.seconds, 3),
        "stopped_by_time": not ended and any((limit.time_remaining() or 0) <= 0 for limit in limits),
    }


def _learned(run: Run) -> Any:
    """Codes that training optimised of exactly the gallery's items, ``None`` without such."""
    learned = run.method.learned_codes()
    if learned is not None and not run.data.gallery_is_train:
        run.say("no row for learned codes: they exist for the training items, and the gallery is not those")
        return None
    return learned


def _stored(run: Run, scored: Scored) -> Scored:
    """The same, with its codes and tie groups in the store."""
    kind = (scored.bits, scored.gallery_codes)
    run.folder.write_codes(*kind, "gallery", scored.gallery, np.asarray(run.data.gallery_items.labels))
    run.folder.write_codes(*kind, "queries", scored.queries, np.asarray(run.data.query_items.labels))
    run.folder.write_groups(*kind, scored.groups)
    return scored


def _record(run: Run, scored: Scored, spent: dict[str, Any]) -> Record:
    config = run.config
    return Record(
        data=_shown_data(run), method=config.method.name, bits=scored.bits, trained_bits=config.bits,
        backbone=config.backbone.name, gallery_codes=scored.gallery_codes, seed=config.seed,
        variant=" ".join(config.differs), selection="val" if run.data.validation else "last",
        protocol=run.protocol.name, data_fingerprint=run.data.fingerprint,
        data_description=run.data.description, group=run.group, run=run.folder.path.name,
        notes=METHODS[config.method.name].notes, scores=scored.scores, preset=config.preset,
        queries_in_gallery=run.data.queries_in_gallery, truncated_images=run.data.truncated_images,
        trials=config.trials, **spent,
    )  # fmt: skip


def _shown_data(run: Run) -> str:
    """The data set, and of one's own images which: ``folder:cars``."""
    name, root = run.config.data.name, run.data.root
    if name not in OWN_IMAGES or (run.data.title is None and root is None):
        return name
    return harmless(f"{name}:{run.data.title or Path(str(root)).resolve().name}")


def _store(
    run: Run, queries: EncodedSplit, gallery: EncodedSplit, trainer: pl.Trainer, times: dict[str, Any]
) -> None:
    """Everything of a run but its codes and records: model, config, items, embeddings, provenance."""
    save_model(run.folder.path, run.method, run.data.class_names, run.config.runs / ".backbones")
    _write_config(run)
    for part, items in (("queries", run.data.query_items), ("gallery", run.data.gallery_items)):
        run.folder.write_items(part, [str(name) for name in items.names])
    if _stores_embeddings(run.config, queries, gallery):
        for part, split in (("queries", queries), ("gallery", gallery)):
            assert split.embedding is not None
            run.folder.write_embeddings(part, split.embedding, split.labels)
    run.folder.write_provenance(_provenance(run, trainer, times))
    points = [each.points for each in _callbacks(trainer, ScoredBudgets)]
    if points:
        run.folder.write_budgets(points[0])


def _write_config(run: Run) -> None:
    run.folder.write_config(yaml.safe_dump(document(run.config), sort_keys=False, allow_unicode=True))


def _stores_embeddings(config: RunConfig, *splits: EncodedSplit) -> bool:
    real = [split.embedding for split in splits if split.embedding is not None]
    if len(real) < len(splits):
        return False
    if config.store_embeddings is None:
        return sum(each.vectors.nbytes for each in real) < EMBEDDINGS_LIMIT
    return config.store_embeddings


def _provenance(run: Run, trainer: pl.Trainer, times: dict[str, Any]) -> dict[str, Any]:
    versions = {module.__name__: module.__version__ for module in (torch, torchvision, pl, timm, np)}
    several = trainer.world_size > 1 and trainer.strategy.root_device.type == "cuda"
    return {
        **environment(versions),
        "processes": trainer.world_size,
        "accelerator": trainer.accelerator.__class__.__name__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "precision": str(trainer.precision),
        "encoded_images": len(run.data.query_items) + len(run.data.gallery_items),
        "parameters": _parameters(run.method),
        "batches_left_out": _left_out(trainer),
        "peak_memory_mb": _peak_memory(trainer),
        "sync_batchnorm": bool(run.config.trainer.get("sync_batchnorm", several)),
        "backbone_weights": run.config.backbone.weights,
        "backbone_weights_hash": run.method.backbone.weights_hash,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **times,
    }


def _left_out(trainer: pl.Trainer) -> int:
    return sum(len(each.skipped) for each in _callbacks(trainer, FiniteLoss))


def _parameters(method: HashingMethod) -> dict[str, int]:
    counts = [(each.numel(), each.requires_grad) for each in method.parameters()]
    return {"total": sum(n for n, _ in counts), "trained": sum(n for n, trained in counts if trained)}


def _peak_memory(trainer: pl.Trainer) -> int | None:
    """Of the GPU in MB, since the process began; ``None`` on the CPU, where other work counts too."""
    if trainer.strategy.root_device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated() / 2**20)


def _first() -> bool:
    return getattr(rank_zero_only, "rank", 0) in (None, 0)
