"""What test_processes.py runs on one process and on several; never collected.

:func:`steps` writes, for every registered method, the codes of both splits, their score, and the loss and
the gradients of one training step in float64 on the same global batch. :func:`alternations` writes the state
after four outer iterations, the last two with exchange, in float64. Batch statistics are those of evaluation.
:func:`stop` and :func:`go_on` train half an epoch on some processes and the rest on others. :func:`metric`
scores items that are spread unequally over the processes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from fghash_baselines.deep.a2net import A2Net
from fghash_baselines.deep.adsh import ADSH
from fghash_baselines.deep.semicon import SEMICON
from pytorch_lightning.strategies import DDPStrategy

from contract import TRAINED, fit, tiny_data, tiny_method
from fghash.data.datamodule import RetrievalDataModule
from fghash.encoding import encode
from fghash.errors import InputError, Stopped
from fghash.evaluation import evaluate
from fghash.evaluation.metric import RetrievalScores
from fghash.methods.exchnet import ExchNet
from fghash.registry import DATASETS, METHODS
from fghash.training.last_checkpoint import LAST, KeepLast
from fghash.training.trainer import Devices, build_trainer
from fghash.training.within_epoch import EpochDraws
from processes import join_gloo
from tiny_training import TinyData, train
from tiny_training import tiny_method as in_turns

ALTERNATING = {
    "a2net": (A2Net, {"late": 0.5}),
    "adsh": (ADSH, {}),
    "semicon": (SEMICON, {}),
    "exchnet": (ExchNet, {"quantisation_weight": 1.0, "align_weight": 1.0, "threshold": 1.0}),
}


class FrozenStatistics(pl.Callback):
    """Every batch normalisation in evaluation mode."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for module in pl_module.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()


class Watch(pl.Callback):
    """Keeps the first step's loss and gradients."""

    def __init__(self):
        self.seen = {}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                self.seen.setdefault(name, parameter.grad.detach().clone().numpy(force=True))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen["loss"] = outputs["loss"].numpy(force=True)


def one_step(name: str, folder: Path, devices: Devices) -> dict[str, np.ndarray]:
    """Loss and gradients of the first training step."""
    data = tiny_data()
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    settings = {
        "max_epochs": 1,
        "limit_train_batches": 1,
        "precision": "64-true",
        "enable_progress_bar": False,
    }
    trainer = build_trainer(folder / name, devices, settings, seed=0, loggers=[], validates=False)
    watch = Watch()
    trainer.callbacks = [FrozenStatistics(), EpochDraws(0), watch]
    trainer.fit(method, datamodule=data)
    return watch.seen


def codes(name: str, folder: Path, n_processes: int) -> dict[str, np.ndarray]:
    """Distances of every query to every gallery item, in a form that does not depend on the kind of codes."""
    data = tiny_data()
    method = tiny_method(name, data)
    trainer = build_trainer(
        folder / name,
        Devices("cpu", n_processes),
        {"enable_progress_bar": False},
        seed=0,
        loggers=[],
        validates=False,
    )
    queries, gallery = encode(trainer, method, data)
    scores = evaluate(queries.codes, gallery.codes, queries.labels, gallery.labels).scores
    arrays = {
        f"{part}_{k}": v
        for part, split in (("q", queries), ("g", gallery))
        for k, v in vars(split.codes).items()
    }
    kept = {k: v for k, v in arrays.items() if isinstance(v, np.ndarray)}
    return {**kept, "map": np.array(scores["map"]), "labels": gallery.labels}


def steps(folder: Path, rank: int, n_processes: int) -> None:
    """Codes, scores, loss and gradients of every method, as the first process sees them."""
    for name in sorted(METHODS):
        found = codes(name, folder, n_processes)
        if name in TRAINED:
            found |= one_step(name, folder, Devices("cpu", n_processes))
        if rank == 0:
            np.savez(folder / f"{name}.npz", **found)


def both_paths(folder: Path, rank: int, n_processes: int) -> None:
    """Codes of every method after an epoch, by the CPU's path and by the accelerator's."""
    for accelerator in (False, True):
        RetrievalDataModule._on_accelerator = lambda self, on=accelerator: on
        for name in sorted(METHODS):
            data = DATASETS["folder"].load()(
                root=str(folder / "images"), image_size=32, batch_size=6, num_workers=0, cache="ram"
            )
            data.setup("fit")
            method = tiny_method(name, data)
            data.train_order = method.train_sampler(data.train_labels)
            settings = {"max_epochs": 1, "enable_progress_bar": False}
            place = folder / f"{name}-{accelerator}"
            trainer = build_trainer(
                place, Devices("cpu", n_processes), settings, seed=0, loggers=[], validates=False
            )
            fit(trainer, method, data)
            splits = zip(("queries", "gallery"), encode(trainer, method, data), strict=True)
            arrays = {f"{part} {k}": v for part, split in splits for k, v in vars(split.codes).items()}
            if rank == 0:
                np.savez(f"{place}.npz", **{k: v for k, v in arrays.items() if isinstance(v, np.ndarray)})


def alternations(folder: Path, rank: int, n_processes: int) -> None:
    """Learned codes, outputs of the last subset, anchors and weights, on every process."""
    for name, (method_class, settings) in ALTERNATING.items():
        several: dict[str, object] = {}
        if n_processes > 1:
            several = {"strategy": DDPStrategy(find_unused_parameters=True), "devices": n_processes}
        method = in_turns(method_class, lr=0.002, inner=0.25, subset=9, **settings)
        train(method, TinyData(), 4, callbacks=[FrozenStatistics()], precision="64-true", **several)
        state = {key: value.numpy() for key, value in method.state_dict().items()}
        np.savez(folder / f"alternating-{name}{rank}.npz", **state)


RESUMED = ("adsh", "csq", "dpq", "hashnet", "phpq")


class StopAfter(pl.Callback):
    """The first process gets a SIGTERM in the third step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        keep = next(each for each in trainer.callbacks if isinstance(each, KeepLast))
        keep.agreement._next = 0  # here a second is too long to agree
        if batch_idx == 2 and trainer.is_global_zero:
            keep.signals.received = 15


def resumable(name: str, folder: Path, n_processes: int) -> tuple[pl.Trainer, pl.LightningModule, object]:
    """A training of two epochs in float64."""
    data = tiny_data(train_images=10)
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    settings = {"max_epochs": 2, "precision": "64-true", "enable_progress_bar": False}
    trainer = build_trainer(
        folder / name, Devices("cpu", n_processes), settings, seed=0, loggers=[], validates=False,
        checkpoint_seconds=3600,
    )  # fmt: skip
    trainer.callbacks.append(FrozenStatistics())
    return trainer, method, data


def stop(folder: Path, rank: int, n_processes: int) -> None:
    """Train until a signal comes, then keep what there is."""
    join_gloo(folder, rank, n_processes)
    for name in RESUMED:
        trainer, method, data = resumable(name, folder, n_processes)
        trainer.callbacks.append(StopAfter())
        try:
            trainer.fit(method, datamodule=data)
        except Stopped:
            continue
        raise AssertionError(f"{name} was not stopped")


def go_on(folder: Path, rank: int, n_processes: int, source: Path | None) -> None:
    """Train to the end from what :func:`stop` left in ``source``, or from the start."""
    join_gloo(folder, rank, n_processes)
    for name in RESUMED:
        trainer, method, data = resumable(name, folder, n_processes)
        trainer.fit(method, datamodule=data, ckpt_path=source and str(source / name / LAST))
        if rank == 0:
            np.savez(folder / f"ended-{name}.npz", **{k: v.numpy() for k, v in method.state_dict().items()})


def metric(folder: Path, rank: int, n_processes: int) -> None:
    """RetrievalScores over every n-th item; then with queries on the first process only."""
    data = np.load(folder.parent / "metric.npz")
    outputs, labels = torch.from_numpy(data["outputs"]), torch.from_numpy(data["labels"])
    results: list[object] = []
    for kind in ("binary", "real"):
        scores = RetrievalScores(codes=kind, cutoffs=(1, 5))
        scores.update(outputs[7 + rank :: n_processes], labels[7 + rank :: n_processes], "gallery")
        scores.update(outputs[rank:7:n_processes], labels[rank:7:n_processes], "query")
        results.append(scores.compute())
    scores.reset()
    scores.update(outputs, labels, "gallery")
    if rank == 0:
        scores.update(outputs, labels, "query")
    try:
        scores.compute()
    except InputError as error:
        results.append(str(error))
    (folder / f"metric{rank}.json").write_text(json.dumps(results))


def everything(folder: Path, rank: int, n_processes: int) -> None:
    """Join the others once, then all of the above."""
    join_gloo(folder, rank, n_processes)
    steps(folder, rank, n_processes)
    if n_processes <= 2:
        alternations(folder, rank, n_processes)
    if n_processes > 1:
        metric(folder, rank, n_processes)


def only_metric(folder: Path, rank: int, n_processes: int) -> None:
    """Join the others, then the metric alone."""
    join_gloo(folder, rank, n_processes)
    metric(folder, rank, n_processes)


def run_both_paths(folder: Path, rank: int, n_processes: int) -> None:
    """:func:`both_paths`, once the processes have met."""
    join_gloo(folder, rank, n_processes)
    both_paths(folder, rank, n_processes)
