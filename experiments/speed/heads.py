"""Seconds of a head on cached features, beside a bare PyTorch loop and beside the same training on images.

All trainings have the same method, loss, optimiser, schedule and number of steps. The bare loop reads the
tensors that fit reads and does nothing else; fit also orders, logs, checkpoints and counts. One epoch is
trained through the images (frozen backbone, no cache) and multiplied. Bare loop and fit run in turn; the
median of the rounds counts.

    python experiments/speed/heads.py --root cub50 --weights FILE [--method hashnet] [--epochs 30]
        [--rounds 3] [-- --data.image_size 224 ...]

Expected on 2 cores: fit at 0.7 or more of the bare loop, 100 or more times as fast as through the images.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from fghash.api import fit
from fghash.batch import Batch
from fghash.methods.optim import build_optimizer, rate_factor
from fghash.pipeline import Run, cache_features, prepare
from fghash.settings.config import RunConfig
from fghash.settings.flags import read_flags
from fghash.settings.resolve import choose, resolve
from fghash.settings.sources import flag_layer
from fghash.training.trainer import choose_devices


def main() -> None:
    given, extra = parse()
    with tempfile.TemporaryDirectory() as folder:
        counter = itertools.count()
        settings = [
            "--method", given.method, "--data", given.data, "--data.root", str(given.root),
            "--backbone", given.backbone, "--backbone.weights", str(given.weights),
            "--backbone.freeze", "all", "--gpus", "0", "--runs", folder,
            "--trainer.enable_progress_bar", "false", *extra,
        ]  # fmt: skip
        if given.backbone.startswith("mobilenetv2"):
            settings += ["--backbone.options.pad_type", "same"]
        cached = [*settings, "--data.features", f"{folder}/features"]
        epochs = ["--trainer.max_epochs", str(given.epochs)]

        def config(words: list[str]) -> RunConfig:
            return resolve(choose([flag_layer(read_flags([*words, "--seed", str(next(counter))]).values)]))

        started = time.perf_counter()
        fit(config([*cached, "--trainer.max_epochs", "1"]))
        print(f"feature cache and first epoch: {time.perf_counter() - started:.1f} s, once for all runs")
        bare, whole, training = [], [], []
        for _ in range(given.rounds):
            bare.append(bare_seconds(prepare(config([*cached, *epochs])), given.epochs))
            started = time.perf_counter()
            result = fit(config([*cached, *epochs]))
            whole.append(time.perf_counter() - started)
            training.append(result.records[0].train_seconds or 0.0)
            print(f"bare {bare[-1]:.2f} s, fit's training {training[-1]:.2f} s, all of fit {whole[-1]:.2f} s")
        images = fit(config([*settings, "--trainer.max_epochs", "1"])).records[0].train_seconds or 0.0
    steps = f"{given.epochs} epochs of {given.method} on {given.backbone}"
    print(f"\n{steps}: {median(training):.2f} s (median of {given.rounds})")
    print(f"of the bare loop's speed: {median(bare) / median(training):.2f}")
    through = images * given.epochs
    print(f"through the images: {images:.1f} s an epoch, {through:.0f} s in all (extrapolated)")
    print(
        f"ratio: {through / median(training):.0f} in training, {through / median(whole):.0f} over all of fit"
    )


def bare_seconds(run: Run, epochs: int) -> float:
    """The training as a loop over tensors in memory."""
    method = run.method
    cache_features(run, choose_devices(0))
    source, rows = run.data.train_items.source, run.data.train_items.positions
    source.features(rows[:1])  # reads the file before the clock starts
    labels = torch.from_numpy(run.data.train_labels)
    size, n = run.config.batch_size, len(rows)
    optimizer = build_optimizer(run.config.optim, method.backbone.parameters(), method.head_parameters())
    total = epochs * (n // size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(run.config.optim, step, total)
    )
    method.train()
    started = time.perf_counter()
    for index in batches(n, size, epochs):
        batch = Batch(None, labels[index], index, source.features(rows[index.numpy()]))
        loss = torch.stack(list(method.loss(batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return time.perf_counter() - started


def batches(n: int, size: int, epochs: int) -> Iterator[torch.Tensor]:
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(n))
        yield from order[: n // size * size].split(size)


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", default="cub200")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--method", default="hashnet")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    words = [*sys.argv[1:], "--"]
    cut = words.index("--")
    return parser.parse_args(words[:cut]), words[cut + 1 : -1]


if __name__ == "__main__":
    main()
