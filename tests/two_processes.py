"""One process of a training on one or two: run by test_two_processes.py, never collected.

Writes, for every registered method, the codes of both splits, their score, and the loss and the gradients of
one training step in float64 on the same global batch. Batch statistics are those of evaluation.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from contract import tiny_data, tiny_method
from fghash.encoding import encode
from fghash.evaluation import evaluate
from fghash.registry import METHODS
from fghash.training.callbacks import Reseed
from fghash.training.trainer import Devices, build_trainer


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
                self.seen.setdefault(name, parameter.grad.detach().clone().numpy())

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen["loss"] = outputs["loss"].numpy()


def one_step(name: str, folder: Path, n_processes: int) -> dict[str, np.ndarray]:
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
    trainer = build_trainer(
        folder / name, Devices("cpu", n_processes), settings, seed=0, loggers=[], validates=False
    )
    watch = Watch()
    trainer.callbacks = [FrozenStatistics(), Reseed(0), watch]
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


def main(folder: Path, rank: int, n_processes: int, names: list[str]) -> None:
    """Join the others, then write what the first process sees."""
    if n_processes > 1:
        os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", GLOO_SOCKET_IFNAME="lo")
        store = f"file://{folder.resolve()}/meeting"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=n_processes)
    for name in names or sorted(METHODS):
        found = {**codes(name, folder, n_processes), **one_step(name, folder, n_processes)}
        if rank == 0:
            np.savez(folder / f"{name}.npz", **found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
