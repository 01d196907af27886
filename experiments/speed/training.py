"""Images per second of `fghash fit`, beside a bare PyTorch loop over batches that already lie in memory.

The loop has the same network, loss, optimiser, precision and batches, and nothing else: no loading, no
logging, no checkpoints. fit reads JPEGs from its decoded cache, augments, logs, and writes a checkpoint every
minute. Both run in turn; the first epoch of each is not counted. Beside the speed: the part of the time that
fit waits for the next batch, and the time from the last step of an epoch to the first of the next.

    python experiments/speed/training.py [--backbone mobilenetv2_100] [--size 96] [--rounds 5] [--gpus 0]
    python experiments/speed/training.py --cache gpu --set trainer.precision=bf16-mixed backbone.compile=true
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
from typing import Any, NamedTuple

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
        root = given.root or scratch / "drawn"
        if not root.is_dir():
            make_photographs(root, given.images)
        words = [
            "--method", given.method, "--backbone", given.backbone, "--data", "folder",
            "--data.root", str(root), "--data.image_size", str(given.size), "--data.cache", given.cache,
            "--data.sampler", "shuffle", *flags_of(given.set),
            "--batch_size", str(given.batch), "--trainer.max_epochs", str(1 + given.epochs),
            "--trainer.enable_progress_bar", "false", "--gpus", str(given.gpus),
        ]  # fmt: skip
        count = itertools.count()

        def configured(*more: str) -> RunConfig:
            """Settings of a run of its own, so that none is taken for finished."""
            flags = read_flags([*words, *more])
            config = resolve(choose([flag_layer(flags.values)]))
            return replace(config, runs=scratch / "runs" / str(next(count)))

        contenders: dict[str, Callable[[], Speed]] = {
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
    parser.add_argument("--cache", default="ram", help="--data.cache of fit: ram, gpu or a folder")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="further settings of both")
    parser.add_argument("--root", type=Path, help="where the JPEGs lie, or are drawn to be used again")
    parser.add_argument("--options", action="store_true", help="measure each option of speed, too")
    return parser.parse_args()


def flags_of(pairs: list[str]) -> Iterator[str]:
    for pair in pairs:
        name, _, value = pair.partition("=")
        yield from (f"--{name}", value)


class Speed(NamedTuple):
    """``images`` per second, the ``waiting`` part of the time, milliseconds ``between`` two epochs."""

    images: float
    waiting: float = 0.0
    between: float = 0.0


def alternated(contenders: dict[str, Callable[[], Speed]], rounds: int) -> dict[str, list[Speed]]:
    """The speeds of each contender, all in turn in every round."""
    speeds: dict[str, list[Speed]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            speeds[name].append(run())
    return speeds


def show(given: argparse.Namespace, speeds: dict[str, list[Speed]]) -> None:
    where = torch.cuda.get_device_name() if given.gpus else f"CPU, {torch.get_num_threads()} threads"
    what = ", ".join([given.method, given.backbone, f"{given.size} px, batches of {given.batch}", *given.set])
    print(f"\n{what}, cache {given.cache}, {where}, images/s")
    (_, fit), *others = speeds.items()
    for name, values in speeds.items():
        images = [each.images for each in values]
        ratio = median(images) / median(each.images for each in fit)
        spread = f"from {min(images):.1f} to {max(images):.1f}"
        print(f"  {name:<42}{median(images):9.1f}   ({spread})   x {ratio:.2f}")
    shares = [ours.images / bare.images for ours, bare in zip(fit, others[0][1], strict=True)]
    waiting, between = median(each.waiting for each in fit), median(each.between for each in fit)
    print(
        f"fit {median(each.images for each in fit):.0f} images/s, {median(shares):.3f} of the bare loop; "
        f"waiting for data {waiting:.1%}; {between:.0f} ms between epochs"
    )


def fit_speed(config: RunConfig) -> Speed:
    """Training as ``fghash fit`` does it, from the second epoch on."""
    run, watch = prepare(config), Stopwatch()
    run.folder.path.mkdir(parents=True)
    trainer = build_trainer(
        run.folder.checkpoints, choose_devices(config.gpus), dict(config.trainer), seed=config.seed,
        loggers=build_loggers(config.tracking, run.folder.path, "speed", "speed"), validates=False,
        checkpoint_seconds=60 * config.checkpoint_minutes,
    )  # fmt: skip
    trainer.callbacks.append(watch)  # the last one: its time includes all that the others do
    given = run.data.train_dataloader
    run.data.train_dataloader = lambda: Waited(given(), watch)  # type: ignore[method-assign,assignment]
    train(trainer, run)
    return Speed(watch.images / watch.seconds, watch.waited / watch.seconds, 1e3 * median(watch.between))


class Waited:
    """A loader that tells how long its batches were waited for."""

    def __init__(self, loader: Any, watch: Stopwatch) -> None:
        self.loader, self.watch, self.sampler = loader, watch, loader.sampler
        self.batch_sampler, self.dataset = loader.batch_sampler, loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.watch.waited += (time.perf_counter() - begun) * (self.watch.begun > 0)
            if batch is None:
                return
            yield batch


class Stopwatch(pl.Callback):
    """Images and seconds after the first epoch."""

    def __init__(self) -> None:
        self.images, self.begun, self.seconds, self.waited = 0, 0.0, 0.0, 0.0
        self.between: list[float] = []
        self._ended = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the second epoch."""
        if trainer.current_epoch == 1:
            self.begun = now(pl_module.device)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """The first step of an epoch ends the time between two."""
        if batch_idx == 0 and self._ended:
            self.between.append(now(pl_module.device) - self._ended)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count."""
        self.images += len(batch.labels) if trainer.current_epoch else 0
        if batch_idx + 1 == trainer.num_training_batches:
            self._ended = now(pl_module.device)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds = now(pl_module.device) - self.begun


def bare_speed(config: RunConfig) -> Speed:
    """The plain loop, from the second epoch on."""
    run = prepare(config)
    device = torch.device("cuda" if config.gpus else "cpu")
    method = run.method.to(device).train()
    batches = list(loaded(run, device))
    optimizer = build_optimizer(config.optim, method.backbone.parameters(), method.head_parameters())
    begun, half = 0.0, config.trainer.get("precision") == "bf16-mixed"
    for epoch in range(int(config.trainer["max_epochs"])):
        if epoch == 1:
            begun = now(device)
        for batch in batches:
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = torch.stack(list(method.loss(method.read(batch)).values())).sum()
            loss.backward()
            optimizer.step()
    images = (int(config.trainer["max_epochs"]) - 1) * sum(len(batch.labels) for batch in batches)
    return Speed(images / (now(device) - begun))


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
