"""Images per second of `fghash fit`, beside a bare PyTorch loop over batches that already lie in memory.

The loop has the same network, loss, optimiser and batches, and nothing else: no loading, no logging, no
checkpoints. fit reads JPEGs from its decoded cache, augments, logs, and writes a checkpoint every epoch. Both
run in turn; the first epoch of each is not counted.

    python experiments/speed/training.py [--backbone mobilenetv2_100] [--size 96] [--rounds 5] [--gpus 0]
    python experiments/speed/training.py --options             # and what each option of speed gains

Expected: 0.95 or more of the bare loop. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from loading import make_photographs

from fghash.batch import Batch
from fghash.methods.optim import build_optimizer
from fghash.pipeline import Run, prepare, train
from fghash.settings.config import RunConfig
from fghash.settings.flags import read_flags
from fghash.settings.resolve import choose, resolve
from fghash.settings.sources import flag_layer
from fghash.training.tracking import build_loggers
from fghash.training.trainer import build_trainer, choose_devices

OPTIONS = {
    "contiguous instead of channels_last": ["--backbone.channels_last", "false"],
    "--trainer.precision bf16-mixed": ["--trainer.precision", "bf16-mixed"],
    "--backbone.compile true": ["--backbone.compile", "true"],
    "both": ["--trainer.precision", "bf16-mixed", "--backbone.compile", "true"],
}


def main() -> None:
    given = parse()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        root = make_photographs(scratch / "drawn", given.images)
        words = [
            "--method", given.method, "--backbone", given.backbone, "--data", "folder",
            "--data.root", str(root), "--data.image_size", str(given.size), "--data.cache", "ram",
            "--data.sampler", "shuffle",
            "--batch_size", str(given.batch), "--trainer.max_epochs", str(1 + given.epochs),
            "--trainer.enable_progress_bar", "false", "--gpus", str(given.gpus),
        ]  # fmt: skip
        count = itertools.count()

        def configured(*more: str) -> RunConfig:
            """Settings of a run of its own, so that none is taken for finished."""
            flags = read_flags([*words, *more])
            config = resolve(choose([flag_layer(flags.values)]))
            return replace(config, runs=scratch / "runs" / str(next(count)))

        contenders: dict[str, Callable[[], float]] = {
            "fghash fit": lambda: fit_speed(configured()),
            "bare PyTorch loop, batches in memory": lambda: bare_speed(configured()),
        }
        if given.options:
            for name, more in OPTIONS.items():
                contenders[name] = lambda more=more: fit_speed(configured(*more))  # type: ignore[misc]
        show(given, alternated(contenders, given.rounds))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="hashnet")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=96, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=1024, help="JPEGs to draw, an epoch")
    parser.add_argument("--epochs", type=int, default=1, help="that are counted in each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gpus", type=int, default=min(1, torch.cuda.device_count()), choices=(0, 1))
    parser.add_argument("--options", action="store_true", help="measure each option of speed, too")
    return parser.parse_args()


def alternated(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Images per second of each contender, all in turn in every round."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            speeds[name].append(run())
    return speeds


def show(given: argparse.Namespace, speeds: dict[str, list[float]]) -> None:
    where = torch.cuda.get_device_name() if given.gpus else f"CPU, {torch.get_num_threads()} threads"
    print(f"\n{given.method}, {given.backbone}, {given.size} px, batches of {given.batch}, {where}, images/s")
    (_, fit), *others = speeds.items()
    print(f"  {'fghash fit':<42}{median(fit):9.1f}   (from {min(fit):.1f} to {max(fit):.1f})")
    for name, values in others:
        spread = f"from {min(values):.1f} to {max(values):.1f}"
        print(f"  {name:<42}{median(values):9.1f}   ({spread})   x {median(values) / median(fit):.2f}")
    shares = [ours / bare for ours, bare in zip(fit, others[0][1], strict=True)]
    print(f"fit at {median(shares):.3f} of the bare loop (median of the rounds; goal 0.95)")


def fit_speed(config: RunConfig) -> float:
    """Images per second of training as ``fghash fit`` does it, from the second epoch on."""
    run, watch = prepare(config), Stopwatch()
    run.folder.path.mkdir(parents=True)
    trainer = build_trainer(
        run.folder.checkpoints, choose_devices(config.gpus), dict(config.trainer), seed=config.seed,
        loggers=build_loggers(config.tracking, run.folder.path, "speed", "speed"), validates=False,
    )  # fmt: skip
    trainer.callbacks.append(watch)  # the last one: its time includes all that the others do
    train(trainer, run)
    return watch.images / watch.seconds


class Stopwatch(pl.Callback):
    """Images and seconds after the first epoch."""

    def __init__(self) -> None:
        self.images, self.begun, self.seconds = 0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the second epoch."""
        if trainer.current_epoch == 1:
            self.begun = now(pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count."""
        self.images += len(batch.labels) if trainer.current_epoch else 0

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds = now(pl_module.device) - self.begun


def bare_speed(config: RunConfig) -> float:
    """Images per second of the plain loop, from the second epoch on."""
    run = prepare(config)
    device = torch.device("cuda" if config.gpus else "cpu")
    method = run.method.to(device).train()
    batches = list(loaded(run, device))
    optimizer = build_optimizer(config.optim, method.backbone.parameters(), method.head_parameters())
    begun = 0.0
    for epoch in range(int(config.trainer["max_epochs"])):
        if epoch == 1:
            begun = now(device)
        for batch in batches:
            optimizer.zero_grad()
            torch.stack(list(method.loss(method.read(batch)).values())).sum().backward()
            optimizer.step()
    images = (int(config.trainer["max_epochs"]) - 1) * sum(len(batch.labels) for batch in batches)
    return images / (now(device) - begun)


def loaded(run: Run, device: torch.device) -> Iterator[Batch]:
    """The batches of the first epoch, normalised, on the device."""
    for batch in run.data.train_dataloader():
        moved = batch.to(device)
        yield moved._replace(images=run.method.backbone.normalise(moved.images).clone())


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
