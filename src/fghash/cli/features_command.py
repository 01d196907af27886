"""``fghash features``: the feature cache alone, by several processes or GPUs if wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.errors import InputError
from fghash.settings.flags import read_flags
from fghash.settings.numbers import whole
from fghash.settings.resolve import check_files, check_gpus, check_source, choose, refuse_cpus
from fghash.settings.sources import Layer, flag_layer, merge, read_config

if TYPE_CHECKING:
    from fghash.feature_cache import FeatureJob
    from fghash.settings.config import RunConfig

HELP = """\
Compute what a frozen backbone gives for every image and store it (float16) below --data.features. Later runs
with the same data, backbone and --backbone.freeze read it, whatever their method, seed and code length. The
same command resumes; --data.views V adds V - 1 augmented views of each training image.

  fghash features --data cub200 --data.root cub --data.features cache --backbone resnet50 \\
      --backbone.weights pretrained --kinds pooled,3,4

settings:
  --kinds KINDS        pooled, levels 1 to 4, several with commas (default pooled)
  --processes N        on CPUs: processes that share the work (default 1); on GPUs one each, see --gpus
  and those of fghash fit for data, backbone and --gpus
"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash features ARGV``; the exit status."""
    flags = read_flags(argv)
    if flags.help or not argv:
        print(HELP, end="")
        return 0
    kinds = _kinds(flags.values.pop("kinds", "pooled"))
    processes = whole(flags.values.pop("processes", 1), "--processes", 1, 1024)
    carrier = Layer(
        "fghash", {"method": {"name": "hashnet"}, "backbone": {"freeze": "all"}}
    )  # any method does
    layers = [carrier, *map(read_config, flags.configs), flag_layer(flags.values)]
    request = choose(layers)
    where = merge(layers).get("data", {}).get("features")
    if where in (None, "ram"):
        raise InputError(f"--data.features: {where or 'none'}, expected the folder to store them in")
    check_source(request)
    refuse_cpus(request, "use --processes")
    check_gpus(request)
    check_files(request)
    return _build([layer.values for layer in layers], str(where), kinds, processes)


def _kinds(text: Any) -> tuple[bool, tuple[int, ...]]:
    """Whether the pooled vector is wanted, and the levels."""
    words = [word.strip() for word in str(text).split(",")]
    if not all(word in ("pooled", "1", "2", "3", "4") for word in words):
        raise InputError(f"--kinds: {text!r}, expected pooled, 1, 2, 3 or 4, several with commas")
    return "pooled" in words, tuple(sorted({int(word) for word in words if word != "pooled"}))


def _build(
    sources: Sequence[Mapping[str, Any]], where: str, kinds: tuple[bool, tuple[int, ...]], processes: int
) -> int:
    import torch

    from fghash.feature_cache import build, check_frozen
    from fghash.settings.resolve import configure
    from fghash.training.trainer import choose_devices

    config = configure(sources)
    devices = choose_devices(config.gpus)
    count = devices.count if devices.accelerator == "gpu" else processes
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    job = _job(config, kinds, devices.accelerator, 0)
    check_frozen(job)
    place = Path(where).expanduser() / job.name
    helper = _helper(sources, kinds, devices.accelerator, place, torch.get_num_threads())
    started = time.monotonic()
    build(job, where, lambda text: print(text, flush=True), [helper] * (count - 1))
    n_images = sum(len(items) for _, items in job.data.parts())
    n_bytes = sum(path.stat().st_size for path in place.glob("*/rows"))
    print(f"{n_images:,} images, {n_bytes / 1e9:.2f} GB in {place} ({time.monotonic() - started:.1f} s)")
    return 0


def _job(config: RunConfig, kinds: tuple[bool, tuple[int, ...]], accelerator: str, rank: int) -> FeatureJob:
    import pytorch_lightning as pl
    import torch

    from fghash.batch import Reads
    from fghash.feature_cache import FeatureJob
    from fghash.pipeline import build_backbone, build_data

    data = build_data(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)  # random weights are those of fit
    backbone = build_backbone(config, data)
    device = torch.device("cuda", rank) if accelerator == "gpu" else torch.device("cpu")
    return FeatureJob(backbone, data, Reads(*kinds), device)


def _helper(
    sources: Sequence[Mapping[str, Any]], kinds: Any, accelerator: str, place: Path, n_threads: int
) -> Callable[..., Any]:
    """Starts a process that fills its part of some units."""
    import torch.multiprocessing as multiprocessing

    context = multiprocessing.get_context("spawn")

    def start(units: Any, part: tuple[int, int]) -> Any:
        arguments = (list(sources), kinds, accelerator, place, n_threads, units, part)
        process = context.Process(target=_fill, args=arguments)
        process.start()
        return process

    return start


def _fill(
    sources: Sequence[Mapping[str, Any]], kinds: Any, accelerator: str, place: Path, n_threads: int,
    units: Any, part: tuple[int, int],
) -> None:  # fmt: skip
    """In a process of its own; what it cannot do is left to the first one, which says why."""
    import torch

    from fghash.data.frozen.units import Construction
    from fghash.feature_cache import fill
    from fghash.settings.resolve import configure

    torch.set_num_threads(n_threads)
    job = _job(configure(sources), kinds, accelerator, part[0])
    fill(job, {unit: Construction(place / unit.name, job.shape(unit)) for unit in units}, part, shown=False)
