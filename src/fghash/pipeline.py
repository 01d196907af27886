"""The flow: image -> data -> backbone -> method -> codes -> evaluation -> store -> leaderboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import timm
import torch
import torchvision
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities import rank_zero_only

from fghash.backbone import Backbone
from fghash.codes import Codes
from fghash.data.datamodule import RetrievalDataModule
from fghash.encoding import EncodedSplit, encode
from fghash.errors import InputError
from fghash.evaluation import RetrievalProtocol, evaluate
from fghash.methods.base import HashingMethod
from fghash.registry import DATASETS, METHODS, look_up
from fghash.report import print_table, write_leaderboard
from fghash.settings.config import RunConfig, document, scientific
from fghash.settings.identity import group_id, run_id
from fghash.store import Record, RunFolder, environment, require_writable
from fghash.store.rescore import rescore
from fghash.training.callbacks import BEST, LAST
from fghash.training.checkpoints import read_checkpoint
from fghash.training.tracking import build_loggers, log_config, log_scores
from fghash.training.trainer import Devices, build_trainer, choose_devices


@dataclass(frozen=True)
class Run:
    """A run about to happen: its parts, its folder and its names."""

    config: RunConfig
    data: RetrievalDataModule
    method: HashingMethod
    protocol: RetrievalProtocol
    folder: RunFolder
    group: str


def fit(config: RunConfig) -> int:
    """Train, encode, evaluate, store, and rewrite ``<runs>/leaderboard.csv``; a finished run is only shown.

    Returns:
        The exit status: 0, or 2 if no query has a relevant gallery item.

    Raises:
        InputError: something in ``config`` cannot be had; nothing on disk was changed.
    """
    devices = choose_devices(config.gpus)
    run = prepare(config)
    require_writable(config.runs)
    if run.folder.records() and not config.force:
        return _show_finished(run)
    with run.folder.lock() if _first() else nullcontext():
        _say(
            f"{config.method.name} on {config.data.name} ({run.data.description}), "
            f"{config.bits} bits, on {devices}"
        )
        _train_and_store(run, devices)
    return _show(config.runs, run.folder, run.protocol) if _first() else 0


def _show_finished(run: Run) -> int:
    """What an earlier run with these settings gave; under new cutoffs its codes are scored again."""
    if not _first():
        return 0
    _say(f"finished before: {run.folder.path} (--force trains again)")
    if not run.folder.is_finished(run.protocol.name):
        rescore(run.folder.path, run.protocol)
    return _show(run.config.runs, run.folder, run.protocol)


def prepare(config: RunConfig) -> Run:
    """Build the parts of a run and give it its name; trains and writes nothing."""
    info = look_up(METHODS, config.method.name, "method")
    method_class = info.load()
    method_class.allows_bits(config.bits, **config.method.settings)
    data = build_data(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    backbone = Backbone(config.backbone, data.image_size)
    method = method_class(backbone, data.num_classes, config.bits, config.optim, **config.method.settings)
    science, weights = scientific(config), backbone.weights_hash
    name = run_id(science, data.fingerprint, weights)
    folder = RunFolder.at(config.runs, config.data.name, config.method.name, config.bits, name)
    protocol = RetrievalProtocol(cutoffs=tuple(config.cutoffs))
    return Run(config, data, method, protocol, folder, group_id(science, data.fingerprint, weights))


def build_data(config: RunConfig) -> RetrievalDataModule:
    """The data module, set up."""
    data_class = look_up(DATASETS, config.data.name, "data").load()
    data: RetrievalDataModule = data_class(
        **config.data.settings, batch_size=config.batch_size, training_seed=config.seed
    )
    data.prepare_data()
    data.setup("fit")
    return data


def _train_and_store(run: Run, devices: Devices) -> None:
    started = time.time()
    name = f"{run.config.method.name}-{run.config.data.name}-{run.config.bits}-{run.config.seed}"
    loggers = build_loggers(run.config.tracking, run.folder.path, name, run.folder.path.name)
    trainer = build_trainer(
        run.folder.checkpoints, devices, dict(run.config.trainer),
        seed=run.config.seed, loggers=loggers, validates=run.data.validation > 0,
    )  # fmt: skip
    log_config(loggers, document(run.config))
    train(trainer, run)
    trained = time.time()
    budget = _budget(trainer, run.config, trained - started)
    queries, gallery = encode(trainer, run.method, run.data)
    if not trainer.is_global_zero:
        return  # the first process scores, after the others have left
    encoded = time.time()
    run.folder.withdraw()  # scores of an earlier training (--force) would not be of these codes
    records = [replace(record, **budget) for record in _score(run, queries, gallery)]
    _keep(
        run,
        records,
        trainer,
        {"fit": trained - started, "encode": encoded - trained, "evaluate": time.time() - encoded},
    )
    log_scores(loggers, [{**record.scores, "gallery_codes": record.gallery_codes} for record in records])


def train(trainer: pl.Trainer, run: Run) -> None:
    """Train from the last checkpoint if a killed run left one; end with the weights that are to be scored."""
    run.data.train_order = run.method.train_sampler(run.data.train_labels)
    last = run.folder.checkpoints / LAST
    resumes = last.is_file() and not run.folder.records()
    if resumes:
        _say(f"resuming from {last} (epoch {read_checkpoint(last)['epoch'] + 1})")
    try:
        trainer.fit(run.method, datamodule=run.data, ckpt_path=str(last) if resumes else None)
    except MisconfigurationException as error:
        raise InputError(f"--trainer: {str(error).strip().splitlines()[0]}") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    if run.data.validation and trainer.max_epochs != 0:
        run.method.load_state_dict(read_checkpoint(run.folder.checkpoints / BEST)["state_dict"])


def _budget(trainer: pl.Trainer, config: RunConfig, seconds: float) -> dict[str, Any]:
    """What the training that has just ended cost, resumed parts included but for ``train_seconds``."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.total.completed
    limits = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    epochs = batches // max(1, int(trainer.num_training_batches))
    ended = epochs >= (trainer.max_epochs or 0)
    return {
        "epochs": epochs,
        "image_passes": batches * config.batch_size,
        "batch_size": config.batch_size,
        "train_seconds": round(seconds, 3),
        "stopped_by_time": not ended and any((limit.time_remaining() or 0) <= 0 for limit in limits),
    }


def _score(run: Run, queries: EncodedSplit, gallery: EncodedSplit) -> Iterator[Record]:
    """A record for each code length and each kind of gallery codes; codes and tie groups are stored on the
    way.
    """
    real = _real_scores(run, queries, gallery)
    for kind, codes in _galleries(run, gallery):
        for bits in run.method.code_lengths():
            shorter = codes.prefix(bits) if bits != run.config.bits else codes
            asked = _query_prefix(queries.codes, shorter, bits)
            result = evaluate(asked, shorter, queries.labels, gallery.labels, run.protocol)
            run.folder.write_codes(bits, kind, "gallery", shorter, gallery.labels)
            run.folder.write_codes(bits, kind, "queries", asked, queries.labels)
            run.folder.write_groups(bits, kind, result.groups)
            within = _within_families(run, asked, shorter, queries.labels, gallery.labels)
            yield _record(run, bits, kind, {**result.scores, **real, **within})


def _galleries(run: Run, gallery: EncodedSplit) -> Iterator[tuple[str, Codes]]:
    """The gallery through the network and, where training optimised codes of exactly these items, those."""
    yield "network", gallery.codes
    learned = run.method.learned_codes()
    if learned is None:
        return
    if not run.data.gallery_is_train:
        _say("no row for learned codes: they exist for the training items, and the gallery is not those")
        return
    yield "learned", learned


def _query_prefix(queries: Codes, gallery: Codes, bits: int) -> Codes:
    """Queries of the gallery's kind are cut to its length; real queries of a quantized gallery stay whole."""
    same_kind = type(queries) is type(gallery)
    return queries.prefix(bits) if same_kind and queries.bits_per_item != bits else queries


def _real_scores(run: Run, queries: EncodedSplit, gallery: EncodedSplit) -> dict[str, Any]:
    """``map_real``: the score of the real embeddings, so that the loss by coding can be seen."""
    if queries.embedding is None or gallery.embedding is None:
        return {}
    result = evaluate(queries.embedding, gallery.embedding, queries.labels, gallery.labels, run.protocol)
    return {"map_real": result.scores["map"]}


def _within_families(
    run: Run, queries: Codes, gallery: Codes, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> dict[str, Any]:
    """``map_within_family``: each query against the gallery items of its class's family only (fine detail
    alone).
    """
    families = run.data.families
    if families is None or query_labels.ndim != 1:
        return {}
    parts: list[tuple[float, int]] = []
    for family in np.unique(families):
        asked = np.flatnonzero(families[query_labels] == family)
        stored = np.flatnonzero(families[gallery_labels] == family)
        if len(asked) and len(stored):
            part = evaluate(
                queries.take(asked),
                gallery.take(stored),
                query_labels[asked],
                gallery_labels[stored],
                run.protocol,
            )
            counted = int(part.scores["n_queries"] or 0) - int(part.scores["n_queries_without_relevant"] or 0)
            parts.append((float(part.scores["map"] or 0.0), counted))
    total = sum(count for _, count in parts)
    return {"map_within_family": sum(value * count for value, count in parts) / total if total else None}


def _record(run: Run, bits: int, kind: str, scores: dict[str, Any]) -> Record:
    config = run.config
    return Record(
        data=config.data.name, method=config.method.name, bits=bits, trained_bits=config.bits,
        backbone=config.backbone.name, gallery_codes=kind, seed=config.seed, variant=" ".join(config.differs),
        selection="val" if run.data.validation else "last", protocol=run.protocol.name,
        data_fingerprint=run.data.fingerprint, data_description=run.data.description, group=run.group,
        run=run.folder.path.name, notes=METHODS[config.method.name].notes, preset=config.preset,
        scores={key: value for key, value in scores.items() if key not in ("bits", "protocol")},
    )  # fmt: skip


def _keep(run: Run, records: list[Record], trainer: pl.Trainer, seconds: dict[str, float]) -> None:
    """Config, provenance and records; the finished marker is the last thing written."""
    versions = {module.__name__: module.__version__ for module in (torch, torchvision, pl, timm, np)}
    run.folder.write_config(yaml.safe_dump(document(run.config), sort_keys=False))
    run.folder.write_provenance(
        {
            **environment(versions),
            "processes": trainer.world_size,
            "accelerator": trainer.accelerator.__class__.__name__,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "precision": str(trainer.precision),
            "sync_batchnorm": bool(getattr(trainer._accelerator_connector, "sync_batchnorm", False)),
            "backbone_weights": run.config.backbone.weights,
            "backbone_weights_hash": run.method.backbone.weights_hash,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": seconds,
        }
    )
    for record in records:
        run.folder.write_record(record)
    run.folder.finish(run.protocol.name)


def _show(runs: Path, folder: RunFolder, protocol: RetrievalProtocol) -> int:
    """Rewrite the leaderboard, print this run's rows and say where the rest is."""
    out = runs / "leaderboard.csv"
    frame = write_leaderboard(runs, [out])
    records = folder.records(protocol.name)
    of_run = frame["group"].isin({record.group for record in records})
    print_table(frame[of_run & (frame["protocol"] == protocol.name)])
    _say(f"run: {folder.path}\nleaderboard: {out}")
    return 2 if any(record.scores.get("map") is None for record in records) else 0


def _first() -> bool:
    return getattr(rank_zero_only, "rank", 0) in (None, 0)


def _say(text: str) -> None:
    if _first():
        print(text, flush=True)
