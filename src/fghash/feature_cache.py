"""The feature cache: what the frozen part of a network gives, computed once for all runs that share it.

A cache is a folder named by the images, their size and the network (weights by content, options), with one
unit for each kind of feature and view. Whatever is missing is computed, block by block; of several runs that
need the same, one builds and the others wait.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import Timeout
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.frozen.feature_rows import FeatureRows, RowReader, Vectors
from fghash.data.frozen.units import BLOCK, Construction, Unit, check_unit, checksums, open_unit, read_json
from fghash.data.images.cache_build import contents, free_memory
from fghash.data.images.transforms import TrainTransform
from fghash.data.items import Files, Items
from fghash.errors import InputError
from fghash.files import acquired, disk_errors, replacing

Say = Callable[[str], None]
Helper = Callable[[list[Unit], tuple[int, int]], Any]  # starts a process that fills its part of the units
RAM, ABOUT = "ram", "cache.json"
_FLUSH_SECONDS = 5.0


@dataclass(frozen=True)
class FeatureJob:
    """Which features of which images a network is to give.

    Args:
        backbone: frozen as far as ``reads`` goes.
        data: set up, on images.
        reads: kinds of features.
        device: what computes them.
    """

    backbone: Backbone
    data: RetrievalDataModule
    reads: Reads
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def kinds(self) -> list[str]:
        """Kinds of features, as units are named."""
        return (["pooled"] if self.reads.pooled else []) + [f"level{level}" for level in self.reads.levels]

    def units(self) -> list[Unit]:
        """Every kind of every split in the view of evaluation, of the training items in the others, too."""
        crops = _crops(self.data)
        return [
            Unit(split, kind, view, crops if view else "")
            for split, _ in self.data.parts()
            for view in range(self.data.views if split == "train" else 1)
            for kind in self.kinds
        ]

    def items(self, unit: Unit) -> Items:
        """The items of its split."""
        return dict(self.data.parts())[unit.split]

    def shape(self, unit: Unit) -> tuple[int, ...]:
        """(n, ...), a row an item."""
        return (len(self.items(unit)), *self._shapes[unit.kind])

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        found = _by_kind(self.backbone.example(self.reads))
        return {kind: tuple(tensor.shape[1:]) for kind, tensor in found.items()}

    @cached_property
    def name(self) -> str:
        """Folder of this network on these images."""
        data, network = self.data, self.backbone
        said = [network.config.name, network.content, dict(network.config.options), network.mean, network.std]
        digest = hashlib.sha256(json.dumps([*said, network.interpolation], default=str).encode()).hexdigest()
        images = f"{data.fingerprint}-{_contents(data)}-{data.image_size}px"
        return f"{images}-{network.config.name.replace('/', '_').replace(':', '_')}-{digest[:8]}"


def use_cached_features(job: FeatureJob, where: str, say: Say) -> None:
    """Give the data module cached features for its images, computed if they are not there.

    Raises:
        InputError: part of what is read is not frozen; no space or permission; a cache that is damaged.
    """
    check_frozen(job)
    if where == RAM:
        job.data.use_features(_rows(job, _in_memory(job, say)))
        return
    build(job, where, say)
    job.data.use_features(_rows(job, _opened(job, Path(where).expanduser() / job.name)))


def check_frozen(job: FeatureJob) -> None:
    """Refuse features that training would change.

    Raises:
        InputError: naming what is read and what is frozen.
    """
    if not job.backbone.freezes(job.reads):
        kinds = ", ".join(job.kinds)
        needed = "all" if job.reads.pooled else f"{max(job.reads.levels)} or all"
        raise InputError(
            f"--backbone.freeze: {job.backbone.config.freeze}, expected {needed} with --data.features "
            f"(the method reads {kinds})"
        )


def build(job: FeatureJob, where: str, say: Say, helpers: Sequence[Helper] = ()) -> None:
    """Compute the units that are missing below ``where``.

    Args:
        job: what is needed.
        where: folder of all feature caches.
        say: is told size and place before anything is computed.
        helpers: each starts a further process that fills its part of the same units.

    Raises:
        InputError: no space, no permission, an unreadable image, features that float16 cannot hold.
    """
    root = Path(where).expanduser()
    place = root / job.name
    if all((place / unit.name).is_dir() for unit in job.units()):
        return
    with disk_errors("--data.features", root):
        place.mkdir(parents=True, exist_ok=True)
        with _alone(place, say):
            missing = [unit for unit in job.units() if not (place / unit.name).is_dir()]
            if missing:
                _build_missing(job, place, missing, say, helpers)


@contextmanager
def _alone(place: Path, say: Say) -> Iterator[None]:
    """One process at a time; the system frees the lock of one that is killed."""
    try:
        lock = acquired(place / ".lock", seconds=0.1)
    except Timeout:
        say(f"features: another process is computing in {place}, waiting for it")
        lock = acquired(place / ".lock", seconds=-1)
    try:
        yield
    finally:
        lock.release()


def _build_missing(
    job: FeatureJob, place: Path, missing: Sequence[Unit], say: Say, helpers: Sequence[Helper]
) -> None:
    under_way = {unit: Construction(place / unit.name, job.shape(unit)) for unit in missing}
    fresh = sum(each.n_bytes for each in under_way.values() if not each.folder.is_dir())
    free = shutil.disk_usage(place).free
    total = sum(each.n_bytes for each in under_way.values())
    if fresh > free:
        raise InputError(
            f"--data.features: {place} needs {fresh / 1e9:.2f} GB, only {free / 1e9:.2f} GB are free"
        )
    say(f"features: computing {total / 1e9:.2f} GB of {', '.join(job.kinds)} in {place}")
    with replacing(place / ABOUT, "--data.features") as temporary:
        temporary.write_text(json.dumps(about(job), indent=1), encoding="utf-8")
    for each in under_way.values():
        each.begin()
    running = [start(list(missing), (number, len(helpers) + 1)) for number, start in enumerate(helpers, 1)]
    try:
        fill(job, under_way, part=(0, len(helpers) + 1))
    finally:
        for process in running:
            process.join()
    fill(job, under_way)  # what a helper could not do
    for each in under_way.values():
        each.publish()


def identity(data: RetrievalDataModule) -> dict[str, Any]:
    """Which data a cache is of: where they lie, their lists and their files."""
    root = "" if data.root is None else str(data.root.expanduser().resolve())
    return {
        "data": type(data).__name__.lower(),
        "root": root,
        "fingerprint": data.fingerprint,
        "contents": _contents(data),
    }


@dataclass(frozen=True)
class Condition:
    """How a cache below the folder of caches is: ``current``, ``stale``, ``damaged``, ``incomplete``, or of
    ``other data``.
    """

    name: str
    state: str
    detail: str
    n_bytes: int


def conditions(root: Path, data: RetrievalDataModule) -> list[Condition]:
    """Every cache below ``root``, compared with the data as they are now.

    Raises:
        InputError: there is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"--features: no such folder '{root}'")
    now = identity(data)
    places = sorted(path.parent for path in root.glob(f"*/{ABOUT}"))
    return [_condition(place, now) for place in places]


def _condition(place: Path, now: Mapping[str, Any]) -> Condition:
    made_of = read_json(place / ABOUT)
    n_bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    units = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    building = sorted(path.name for path in place.glob(".*.building"))
    if any(made_of.get(key) != now[key] for key in ("data", "root")):
        return Condition(place.name, "other data", str(made_of.get("root", "")), n_bytes)
    for key, what in (("fingerprint", "the lists changed"), ("contents", "image files changed")):
        if made_of.get(key) != now[key]:
            return Condition(place.name, "stale", what, n_bytes)
    try:
        for unit in units:
            check_unit(unit)
    except InputError as error:
        return Condition(place.name, "damaged", str(error).partition(": ")[2], n_bytes)
    if building:
        return Condition(
            place.name, "incomplete", f"{len(building)} units, the next run completes them", n_bytes
        )
    return Condition(place.name, "current", ", ".join(unit.name for unit in units), n_bytes)


def passes(units: Iterable[Unit]) -> list[list[Unit]]:
    """Units that one pass over the images fills: those of one split in one view."""
    together: dict[tuple[str, int], list[Unit]] = {}
    for unit in units:
        together.setdefault((unit.split, unit.view), []).append(unit)
    return list(together.values())


def about(job: FeatureJob) -> dict[str, Any]:
    """What a cache was made of, for people and for ``fghash data check --features``."""
    config = job.backbone.config
    return {
        **identity(job.data),
        "image_size": job.data.image_size,
        "backbone": config.name,
        "weights": job.backbone.content,
        "options": dict(config.options),
    }


def fill(
    job: FeatureJob,
    under_way: dict[Unit, Construction],
    part: tuple[int, int] = (0, 1),
    shown: bool = True,
) -> None:
    """Compute the missing blocks of units, of ``part`` (r, n) the r-th of every n.

    Raises:
        InputError: an image is unreadable, or a feature is beyond float16.
    """
    for together in passes(under_way):
        _fill_pass(job, {unit: under_way[unit] for unit in together}, part, shown)


def _fill_pass(
    job: FeatureJob,
    under_way: dict[Unit, Construction],
    part: tuple[int, int],
    shown: bool,
) -> None:
    """The blocks of units of one pass."""
    opened = {unit.kind: each.open() for unit, each in under_way.items()}
    mine = [block for block in _missing_blocks(under_way) if block % part[1] == part[0]]
    written: list[int] = []
    flushed = time.monotonic()
    for block, index, features in _computed(job, next(iter(under_way)), mine, shown):
        for kind, (rows, sums, _) in opened.items():
            rows[index], sums[index] = features[kind], checksums(features[kind])
        written.append(block)
        if time.monotonic() - flushed > _FLUSH_SECONDS:
            _flush(opened, written)
            flushed = time.monotonic()
    _flush(opened, written)


def _missing_blocks(under_way: dict[Unit, Construction]) -> list[int]:
    done = [each.done() for each in under_way.values()]
    return np.flatnonzero(~np.logical_and.reduce(done)).tolist()


def _flush(opened: dict[str, tuple[Any, Any, Any]], written: list[int]) -> None:
    """Rows to disk first, then the marks that say so."""
    for rows, sums, marks in opened.values():
        rows.flush()
        sums.flush()
        marks[written] = 1
        marks.flush()
    written.clear()


def _computed(
    job: FeatureJob, unit: Unit, blocks: Sequence[int], shown: bool = True
) -> Iterator[tuple[int, slice, dict[str, NDArray[np.float16]]]]:
    """Features of each block of the unit's split and view, with its rows."""
    if not blocks:
        return
    backbone = job.backbone.to(job.device).eval()
    batches = _image_batches(job, unit, blocks)
    title = f"features, {unit.split}" + (f", view {unit.view}" if unit.view else "")
    with _Bar(title, len(blocks), shown) as advance, torch.inference_mode():
        for block, batch in zip(blocks, batches, strict=True):
            images = batch.images.to(job.device)
            start = block * BLOCK
            index = slice(start, start + len(batch.labels))
            yield block, index, _half(backbone(images, job.reads), start)
            advance()
    backbone.to("cpu").train()


def _half(features: Features, start: int) -> dict[str, NDArray[np.float16]]:
    halves = {kind: tensor.half() for kind, tensor in _by_kind(features).items()}
    for kind, half in halves.items():
        if not half.isfinite().all():
            row = start + int((~half.flatten(1).isfinite().all(1)).nonzero()[0])
            raise InputError(
                f"--data.features: {kind} of image {row} is not a finite number in float16 "
                "(damaged weights, or activations beyond 65504)"
            )
    return {kind: half.cpu().contiguous().numpy() for kind, half in halves.items()}


def _by_kind(features: Features) -> dict[str, torch.Tensor]:
    found = {f"level{level}": map_ for level, map_ in features.maps.items()}
    return found if features.pooled is None else {"pooled": features.pooled, **found}


def _image_batches(job: FeatureJob, unit: Unit, blocks: Sequence[int]) -> Iterable[Batch]:
    """Blocks of the images of a split, as the view has them."""
    data, items = job.data, job.items(unit)
    transform = _augmentation(data) if unit.view else data.evaluation_transform
    rows = [range(block * BLOCK, min((block + 1) * BLOCK, len(items))) for block in blocks]
    return data.blocks(items, transform, [[(row, unit.view) for row in each] for each in rows])


def _augmentation(data: RetrievalDataModule) -> TrainTransform:
    own = data.train_transform
    return TrainTransform(own.size, data.seed, own.crop, own.crop_scale, own.flip)


def _crops(data: RetrievalDataModule) -> str:
    """The augmentation of the further views, by content."""
    own = data.train_transform
    said = [data.seed, own.crop, own.crop_scale, own.flip, data.cache is not None]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:8]


def _contents(data: RetrievalDataModule) -> str:
    """Hash of names and sizes of the image files: an image that was replaced makes another cache."""
    digest = hashlib.sha256(b"tolerant" if data.tolerate_truncated else b"")
    for _, items in data.splits_as_read.parts():
        if isinstance(items.source, Files):
            digest.update(contents(items.source).encode())
    return digest.hexdigest()[:8]


def _rows(job: FeatureJob, units: Mapping[Unit, RowReader]) -> list[FeatureRows]:
    """The rows of each split, in all its views."""
    found = []
    for split, _ in job.data.parts():
        mine = {(unit.view, unit.kind): reader for unit, reader in units.items() if unit.split == split}
        n_views = 1 + max(view for view, _ in mine)
        found.append(FeatureRows([{kind: mine[view, kind] for kind in job.kinds} for view in range(n_views)]))
    return found


def _opened(job: FeatureJob, place: Path) -> dict[Unit, RowReader]:
    units: dict[Unit, RowReader] = {}
    for unit in job.units():
        opened = open_unit(place / unit.name, job.shape(unit)[0])
        if opened.rows.shape != job.shape(unit):
            raise InputError(
                f"--data.features: {place / unit.name} holds features {opened.rows.shape[1:]}, the network "
                f"gives {job.shape(unit)[1:]}: delete that folder (the next run builds it again)"
            )
        units[unit] = opened
    return units


def _in_memory(job: FeatureJob, say: Say) -> dict[Unit, RowReader]:
    sizes = {unit: job.shape(unit) for unit in job.units()}
    n_bytes = sum(int(np.prod(shape)) * 2 for shape in sizes.values())
    if n_bytes > free_memory():
        raise InputError(
            f"--data.features: ram needs {n_bytes / 1e9:.2f} GB, only {free_memory() / 1e9:.2f} GB are free"
        )
    say(f"features: computing {n_bytes / 1e9:.2f} GB of {', '.join(job.kinds)} in memory")
    rows = {unit: np.empty(shape, np.float16) for unit, shape in sizes.items()}
    for together in passes(sizes):
        n_blocks = -(-sizes[together[0]][0] // BLOCK)
        for _, index, features in _computed(job, together[0], range(n_blocks)):
            for unit in together:
                rows[unit][index] = features[unit.kind]
    return {unit: Vectors(values) for unit, values in rows.items()}


class _Bar:
    """A progress bar of blocks, on a terminal only."""

    def __init__(self, title: str, total: int, shown: bool) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks of 64"),
            TimeRemainingColumn(), console=console, transient=True,
            disable=not (shown and console.is_terminal),
        )  # fmt: skip
        self.title, self.total = title, total

    def __enter__(self) -> Callable[[], None]:
        self.progress.start()
        task = self.progress.add_task(self.title, total=self.total)
        return lambda: self.progress.advance(task)

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()
