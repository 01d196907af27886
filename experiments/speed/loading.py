"""Images per second of loading, on one core: torchvision's way, ours, and ours from the decoded cache.

Every contender gives normalised float batches of 64 at 224 px with the same augmentation (random resized crop
and flip). Rounds are alternated and the median is printed, because other work on the machine comes and goes.

    python experiments/speed/loading.py [--cub ../shared/data/cub50] [--images 512] [--rounds 5]

Expected: cached 9 to 13 times torchvision's, uncached 2 to 4 times (one core of an AMD EPYC).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from fghash.backbone.pixels import Normalise
from fghash.batch import Batch
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.sets.cub200 import Cub200
from fghash.data.sets.folder import Folder

BATCH, SIZE = 64, 224
DataSet = Callable[..., RetrievalDataModule]
SHARED = Path(os.environ.get("FGHASH_SHARED", Path(__file__).parents[3] / "shared")) / "data"


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet


def main() -> None:
    arguments = parse()
    one_core()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        print(f"batches of {BATCH} at {SIZE} px, one core, {torch.get_num_threads()} thread, images/s")
        drawn = make_photographs(scratch / "drawn", arguments.images)
        compare("JPEGs of 500 x 375", drawn / "train", Folder, drawn, scratch, arguments.rounds)
        if (cub := find_cub(arguments.cub, scratch)) is not None:
            compare("CUB-200-2011, first 50 classes", cub / "images", Cub200, cub, scratch, arguments.rounds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cub", type=Path, default=SHARED / "cub50", help="folder, or the .zip of that name")
    parser.add_argument("--images", type=int, default=512, help="JPEGs to draw")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def one_core() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def make_photographs(root: Path, n_images: int) -> Path:
    """Scenes of 500 x 375 with detail at every scale, as JPEGs of about the bytes of a photograph."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(_draw, [root] * n_images, range(n_images), chunksize=16))
    for k in range(8):
        (root / "query" / f"class{k}").mkdir(parents=True)
        shutil.copy(root / "train" / f"class{k}" / f"{k}.jpg", root / "query" / f"class{k}")
    size = sum(path.stat().st_size for path in root.glob("train/*/*")) / n_images
    print(f"drew {n_images} JPEGs of {size / 1000:.0f} kB")
    return root


def _draw(root: Path, k: int) -> None:
    rng, picture = np.random.default_rng(k), np.full((375, 500, 3), 128.0)
    for cells in (3, 7, 16, 40, 100, 250):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
        picture += (np.asarray(layer) - 128.0) * (1.6 / np.sqrt(cells))
    path = root / "train" / f"class{k % 8}" / f"{k}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def find_cub(path: Path, scratch: Path) -> Path | None:
    archive = path.with_suffix(".zip")
    if not path.is_dir() and archive.is_file():
        with zipfile.ZipFile(archive) as file:
            file.extractall(scratch)
        path = scratch / path.name
    return path if path.is_dir() else None


def compare(
    title: str,
    images: Path,
    data_set: Callable[..., RetrievalDataModule],
    root: Path,
    scratch: Path,
    rounds: int,
) -> None:
    cache = scratch / f"cache of {root.name}"
    contenders: dict[str, Iterable[object]] = {
        "torchvision ImageFolder, PIL, v2": torchvision_loader(images),
        "fghash": loader(data_set, root, None),
        "fghash, cached": loader(data_set, root, str(cache)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for batches in contenders.values():
        images_per_second(batches)  # warm up: compile, read files into the system's memory
    for _ in range(rounds):
        for name, batches in contenders.items():
            speeds[name].append(images_per_second(batches))
    first = statistics.median(next(iter(speeds.values())))
    print(f"\n{title}")
    for name, values in speeds.items():
        median, spread = statistics.median(values), f"from {min(values):.0f} to {max(values):.0f}"
        print(f"  {name:<34}{median:8.0f}   x {median / first:.2f}   ({spread})")


def torchvision_loader(images: Path) -> DataLoader[object]:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return DataLoader(ImageFolder(images, transform), BATCH, shuffle=True, drop_last=True)


def loader(data_set: DataSet, root: Path, cache: str | None) -> Iterable[object]:
    module = data_set(root=str(root), image_size=SIZE, batch_size=BATCH, num_workers=0, cache=cache)
    begin = time.perf_counter()
    module.setup()
    if cache is not None:
        seconds, megabytes = time.perf_counter() - begin, directory_size(Path(cache)) / 1e6
        print(f"built a cache of {megabytes:.0f} MB in {seconds:.1f} s")
    return Normalised(module.train_dataloader())


class Normalised:
    """Batches of a loader with their images as normalised floats, as the backbone makes them of bytes."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches, self.normalise = batches, Normalise(MEAN, STD)

    def __iter__(self) -> Iterator[object]:
        return (self.normalise(batch.images) for batch in self.batches)


def directory_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def images_per_second(batches: Iterable[object], at_most: int = 16) -> float:
    """Over an epoch, or its first batches."""
    begin, n_batches = time.perf_counter(), 0
    for _ in batches:
        n_batches += 1
        if n_batches == at_most:
            break
    return n_batches * BATCH / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
