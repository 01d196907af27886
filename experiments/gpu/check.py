"""Benchmarks for a machine with a GPU, as one Markdown table; ``--cpu``: the same parts, small, on the CPU.

    python experiments/gpu/check.py --out report.md [--cpu] [--parts methods evaluator training features]

Every row is a ratio or a time of this one run, with the card's name above the table. `check.sh` runs the
tests marked `gpu` first, then this.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fghash import api
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.evaluation import evaluate
from fghash.registry import METHODS

Row = tuple[str, str]
SPEED = Path(__file__).parents[1] / "speed"


def main(argv: list[str] | None = None) -> int:
    """Write the table; the number of parts that failed."""
    given = parse(argv)
    name = "CPU" if given.cpu else torch.cuda.get_device_name()
    lines = [f"## {name}, torch {torch.__version__}", "", "| what | measured |", "|---|---|"]
    failed = 0
    for part in given.parts:
        started = time.perf_counter()
        try:
            lines += [f"| {what} | {value} |" for what, value in PARTS[part](given.cpu)]
        except Exception as error:  # the others are measured all the same
            failed += 1
            lines.append(f"| {part} | failed: {' '.join(str(error).split())[:200]} |")
        lines.append(f"| {part} took | {time.perf_counter() - started:.0f} s |")
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return failed


def methods(cpu: bool) -> Iterator[Row]:
    """Every method on the generated data: seconds of a short training, and its mAP."""
    data = {"name": "synthetic", "train_images": 6 if cpu else 50, "query_images": 2 if cpu else 20}
    for name in sorted(METHODS):
        with tempfile.TemporaryDirectory() as folder:
            settings = {"data": data, "batch_size": 40, "trainer": {"max_epochs": 1 if cpu else 5}}
            result = api.fit(settings, method=name, gpus=0 if cpu else 1, runs=folder, bits=16)
            record = result.records[0]
            yield (
                f"{name}, {record.image_passes:,} passes",
                f"{record.train_seconds} s, map {record.scores['map']:.3f}",
            )


def evaluator(cpu: bool) -> Iterator[Row]:
    """Every kind of codes on the CPU and through torch, and whether the scores agree."""
    device = "cpu" if cpu else "cuda"
    sizes = [(100, 2000, 64)] if cpu else [(5_000, 50_000, 64), (10_000, 1_000_000, 64), (5_000, 50_000, 512)]
    for n_queries, n_items, bits in sizes:
        yield from compared("binary", (n_queries, n_items, bits), device, binary(n_queries, n_items, bits))
    sizes = [(20, 300, 16)] if cpu else [(2_000, 20_000, 128)]
    for n_queries, n_items, width in sizes:
        yield from compared("real", (n_queries, n_items, width), device, real(n_queries, n_items, width))
        size = (n_queries, n_items, 8)
        yield from compared("quantized, 8 codebooks", size, device, quantized(n_queries, n_items, width))


def compared(kind: str, size: tuple[int, int, int], device: str, case: tuple[Any, ...]) -> Iterator[Row]:
    """The times of numba and of ``device``."""
    name = f"evaluate {kind} {size[0]:,} x {size[1]:,} x {size[2]}"
    ours, here = timed(lambda: evaluate(*case).scores)
    theirs, there = timed(lambda: evaluate(*case, device=device).scores)
    same = all(abs(here[key] - there[key]) < 1e-6 for key in here if here[key] is not None)  # type: ignore
    yield f"{name}, numba", f"{ours * 1e3:.1f} ms"
    agree = "equal" if here == there else "equal to 1e-6" if same else "DIFFER"
    yield f"{name}, --device {device}", f"{theirs * 1e3:.1f} ms, scores {agree}"


def labels(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(200, size=n) for n in lengths]


def binary(n_queries: int, n_items: int, bits: int) -> tuple[Any, ...]:
    random = np.random.default_rng(0)
    queries, gallery = (BinaryCodes(random.random((n, bits), np.float32) < 0.5) for n in (n_queries, n_items))
    return queries, gallery, *labels(n_queries, n_items)


def real(n_queries: int, n_items: int, width: int) -> tuple[Any, ...]:
    random = np.random.default_rng(0)
    vectors = [random.standard_normal((n, width)).astype(np.float32) for n in (n_queries, n_items)]
    return RealCodes(vectors[0]), RealCodes(vectors[1], "cosine"), *labels(n_queries, n_items)


def quantized(n_queries: int, n_items: int, width: int) -> tuple[Any, ...]:
    random = np.random.default_rng(0)
    books = random.standard_normal((8, 256, width // 8)).astype(np.float32)
    gallery = QuantizedCodes(random.integers(256, size=(n_items, 8)), books, "product", "dot")
    queries = RealCodes(random.standard_normal((n_queries, gallery.dimensions)).astype(np.float32))
    return queries, gallery, *labels(n_queries, n_items)


def training(cpu: bool) -> Iterator[Row]:
    """fit beside a bare loop: few and many steps an epoch, half precision and a compiled network."""
    network, size = ("test_resnet", 32) if cpu else ("resnet50", 224)
    fast = ["trainer.precision=bf16-mixed", "backbone.compile=true"]
    cases: list[tuple[int, str, list[str]]] = [
        (512, "ram", []), (512, "gpu", []), (6000, "gpu", []), (6000, "gpu", fast),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for images, cache, more in [(64, "ram", [])] if cpu else cases:
            words = ["--backbone", network, "--size", str(size), "--images", str(images), "--cache", cache]
            words += [
                "--root",
                f"{folder}/{images}",
                "--epochs",
                "2" if images > 999 else "6",
                "--rounds",
                "1",
            ]
            words += ["--gpus", "0" if cpu else "1", *(["--set", *more] if more else [])]
            case = f"{network}, {size} px, {images:,} images an epoch, cache {cache} {' '.join(more)}"
            yield case.strip(), script("training.py", *words)[-1]


def features(cpu: bool) -> Iterator[Row]:
    """Images per second into the feature cache, images that are drawn and in memory."""
    data = {"name": "synthetic", "train_images": 6 if cpu else 100, "image_size": 64 if cpu else 224}
    settings = {"data": {**data, "features": "ram"}, "backbone": {"freeze": "all"}, "batch_size": 40}
    network = "test_resnet" if cpu else "resnet50"
    settings["backbone"] = {"freeze": "all", "name": network}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        api.fit(settings, method="classify", gpus=0 if cpu else 1, runs=folder, trainer={"max_epochs": 1})
        n_images = 20 * (data["train_images"] + 20)
        yield (
            f"features of {network} and a head, {n_images:,} images",
            f"{time.perf_counter() - started:.1f} s",
        )


def script(name: str, *words: str) -> list[str]:
    """The lines that a benchmark prints.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run([sys.executable, SPEED / name, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else name)
    return [line for line in done.stdout.splitlines() if line.strip()]


def timed(task: Callable[[], object], rounds: int = 3) -> tuple[float, object]:
    """Seconds of the fastest of some rounds after one that is not counted, and what came of it."""
    task()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        result = task()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "methods": methods, "evaluator": evaluator, "training": training, "features": features,
}  # fmt: skip


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu", action="store_true", help="the same parts, small, on the CPU")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args(argv)
    if not given.cpu and not torch.cuda.is_available():
        parser.error("no CUDA GPU here; --cpu runs the same parts, small, on the CPU")
    return given


if __name__ == "__main__":
    sys.exit(main())
