"""fghash from Python: train, evaluate, load a stored run and encode with it. Nothing here prints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from fghash import pipeline
from fghash.backbone import GIVEN, Backbone, GivenFeatures
from fghash.backbone.weights import content_hash
from fghash.batch import Batch, Features
from fghash.codes import Codes, RealCodes, concatenate
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.images.decoding import read_image
from fghash.data.images.resample import scaled, scaled_shape
from fghash.data.images.transforms import EvaluationTransform, cut_batch
from fghash.errors import InputError
from fghash.evaluation import evaluate
from fghash.methods.base import HashingMethod
from fghash.registry import METHODS, look_up
from fghash.settings.config import RunConfig
from fghash.settings.resolve import configure, stored_config
from fghash.store import Record, RunFolder
from fghash.training.bundle_files import HUB, fetch
from fghash.training.model_files import FACTS, load_model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LoadedRun", "RunResult", "encode", "evaluate", "fit", "leaderboard", "load_run"]

Image = str | Path | BinaryIO | NDArray[np.uint8] | Tensor
PreparedImages = Callable[..., Iterator[NDArray[np.uint8]]]  # see prepared_images
_CACHES = {"cache", "features"}
_THUMBNAIL = 96  # short side in pixels
_HALF = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Args:
        records: one for each code length and kind of gallery codes; empty on all processes but the first.
        folder: the run's folder in the store.
        status: ``trained``, ``finished before`` (with the same settings) or ``scored again`` (new cutoffs).
    """

    records: tuple[Record, ...]
    folder: Path
    status: str


def fit(
    config: RunConfig | Mapping[str, Any] | None = None,
    *,
    say: Callable[[str], None] = pipeline.silent,
    watch: Callable[[float], None] | None = None,
    **settings: Any,
) -> RunResult:
    """Train, encode, evaluate and store, as ``fghash fit`` does, without printing.

    Args:
        config: resolved settings, or nested ones as in a YAML file.
        say: is told in a line what happens.
        watch: is told now and then which part of the training is done, from 0 to 1.
        settings: the same as keywords, over ``config``, as in ``fit(method="hashnet", bits=32)``.

    Raises:
        InputError: a setting is unknown or out of range, or something cannot be had.
    """
    if not isinstance(config, RunConfig):
        quiet = {"trainer": {"enable_progress_bar": False}}
        config = configure([quiet, config or {}, settings])
    elif settings:
        raise InputError(f"settings: {sorted(settings)}, expected none beside a RunConfig")
    outcome = pipeline.fit(config, say, watch)
    return RunResult(tuple(outcome.records), outcome.folder.path, outcome.status)


def leaderboard(runs: str | Path = "runs", protocol: str | None = None) -> pd.DataFrame:
    """The table of all stored runs, best first.

    Raises:
        InputError: there is no such folder.
    """
    from fghash.report import leaderboard as table

    return table(Path(runs), protocol)


def load_run(folder: str | Path, device: str | torch.device = "cpu") -> LoadedRun:
    """A stored run as a model: its method with the weights that were scored, in evaluation mode.

    The data set need not be there.

    Raises:
        InputError: not the folder of a finished run that stores its model, or a damaged file.
    """
    path = find_run(folder)
    config = stored_config(RunFolder(path).read_config(), str(path))
    stored = load_model(path)
    method_class = look_up(METHODS, config.method.name, "method").load()
    size = int(config.data.settings.get("image_size", 224))
    rounds = config.data.settings.get("features") is not None
    given = config.backbone.name == GIVEN
    backbone = GivenFeatures(stored.width) if given else Backbone(config.backbone, size, rounds)
    own = config.method.settings
    method = method_class(backbone, stored.num_classes, config.bits, config.optim, **own)
    try:
        method.load_state_dict(stored.state)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"run: the model in '{path}' does not fit its config ({reason})") from error
    if str(config.trainer.get("precision", "")).startswith("64"):
        method.double()
    transform = EvaluationTransform(size)
    return LoadedRun(path, config, method.eval().to(device), transform, stored.class_names)


def find_run(path: str | Path) -> Path:
    """The run's folder: ``path`` itself, the only finished run below it, or a bundle that is fetched
    (``hf://user/name``).

    Raises:
        InputError: there is none, or there are several.
    """
    if str(path).startswith(HUB):
        return fetch(str(path))
    path = Path(path)
    if (path / "config.yaml").is_file() or (path / FACTS).is_file():
        return path
    found = sorted(each.parent for each in path.rglob(FACTS)) if path.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"run: '{path}' is not the folder of a finished run, and none lies below it")
    shown = ", ".join(str(each) for each in found[:5])
    raise InputError(f"run: {len(found)} runs below '{path}', expected one of them: {shown}")


def images_of(
    folder: str | Path, short_side: int | None = _THUMBNAIL
) -> Callable[[str, int], NDArray[np.uint8]] | None:
    """A reader of a stored run's images: of ``queries`` or ``gallery`` and a position, (h, w, 3) bytes, as
    they are or scaled to a ``short_side``.

    ``None`` where the data are not on this machine any more, are others than the run's, or have no images.
    """
    data = _data_of(Path(folder))
    if data is None:
        return None

    def read(part: str, position: int) -> NDArray[np.uint8]:
        items = data.query_items if part == "queries" else data.gallery_items
        return items.read(position, short_side)

    return read


def _data_of(path: Path) -> RetrievalDataModule | None:
    """The data of a stored run, without caches, if they are what they were and have images."""
    try:
        config = stored_config(RunFolder(path).read_config(), str(path))
        settings = {**config.data.settings, **dict.fromkeys(_CACHES & config.data.settings.keys())}
        data = pipeline.build_data(replace(config, data=replace(config.data, settings=settings)))
    except (InputError, OSError):
        return None
    records = RunFolder(path).records()
    if data.given_width is not None or any(each.data_fingerprint != data.fingerprint for each in records):
        return None
    return data


def prepared_images(run: LoadedRun, batch_size: int) -> PreparedImages | None:
    """A function of ``queries`` or ``gallery``, and of how many images (all, or some that are spread evenly),
    that gives batches (b, 3, size, size) of a stored run's images as its network had them, in order. ``None``
    where :func:`images_of` gives none.
    """
    data = _data_of(run.folder)
    if data is None:
        return None

    def batches(part: str, count: int | None = None) -> Iterator[NDArray[np.uint8]]:
        items = data.query_items if part == "queries" else data.gallery_items
        side = run.transform.short_side
        places = spread(len(items), count)
        for start in range(0, len(places), batch_size):
            block = places[start : start + batch_size]
            yield run._cropped([np.ascontiguousarray(items.read(i, side)) for i in block]).numpy()

    return batches


def spread(n: int, count: int | None = None) -> list[int]:
    """All positions of n items, or ``count`` of them, spread evenly.

    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    if count is None or count >= n:
        return list(range(n))
    return [int(place) for place in np.linspace(0, n - 1, count).round()]


def class_names_of(folder: str | Path) -> tuple[str, ...]:
    """The names of a stored run's classes; empty where it does not store them."""
    try:
        facts = json.loads((Path(folder) / FACTS).read_text(encoding="utf-8"))
        return tuple(str(name) for name in facts["class_names"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def encode(run: str | Path | LoadedRun, images: Iterable[Image] | DataLoader[Any], **options: Any) -> Codes:
    """Codes of images by a stored run: :meth:`LoadedRun.encode` of :func:`load_run`."""
    loaded = run if isinstance(run, LoadedRun) else load_run(run)
    return loaded.encode(images, **options)


@dataclass(frozen=True)
class LoadedRun:
    """A stored run as a model.

    Args:
        folder: of the run.
        config: its resolved settings.
        method: with the weights that were scored, in evaluation mode; ``method.to(device)`` moves it.
        transform: what the run evaluated its images with.
        class_names: of the classes it was trained on.
    """

    folder: Path
    config: RunConfig
    method: HashingMethod
    transform: EvaluationTransform
    class_names: tuple[str, ...]

    def encode(
        self,
        images: Iterable[Image] | DataLoader[Any],
        *,
        queries: bool = False,
        batch_size: int | None = None,
    ) -> Codes:
        """Codes of these images, in their order, as a gallery stores them.

        In the run's own order and batch size they are the stored network codes, bit for bit.

        Args:
            images: paths of files; arrays (h, w, 3) of bytes; tensors (3, h, w) of bytes; or a DataLoader
                whose batches are images (b, 3, h, w), transformed already (bytes, or normalised floats),
                alone or first in a sequence. For a run on given features: vectors (n, width).
            queries: what a query is compared with, for methods of asymmetric search.
            batch_size: images at a time; by default as in the run.

        Raises:
            InputError: no image, or one that cannot be read; the message has its path.
        """
        if isinstance(self.method.backbone, GivenFeatures):
            return self._of_vectors(images, queries)
        if isinstance(images, DataLoader):
            batches: Iterable[Any] = (_images_of(batch) for batch in images)
        else:
            batches = self._transformed(images, batch_size or self.config.batch_size)
        codes = [self.encode_batch(batch, queries) for batch in batches]
        if not codes:
            raise InputError("images: none, expected at least one")
        return concatenate(codes)

    def embed(self, images: Iterable[Image], *, batch_size: int | None = None) -> RealCodes:
        """Real vectors of these images, in their order, where the method has them.

        Raises:
            InputError: no image, one that cannot be read, or a method without real vectors.
        """
        found = []
        for batch in self._transformed(images, batch_size or self.config.batch_size):
            codes, real = self.encode_and_embed_batch(batch, queries=True)
            real = codes if isinstance(codes, RealCodes) else real
            if real is None:
                raise InputError(f"vectors: the method {self.config.method.name} has no real vectors")
            found.append(real)
        if not found:
            raise InputError("images: none, expected at least one")
        return concatenate(found)

    def _of_vectors(self, vectors: Any, queries: bool) -> Codes:
        """Codes of vectors (n, width), for a run on given features."""
        array = np.asarray(vectors, np.float32)
        width = self.method.backbone.width
        if array.ndim != 2 or array.shape[1] != width or not len(array):
            raise InputError(f"images: {array.shape}, expected vectors (n, {width}): the run has no network")
        index = torch.arange(len(array))
        with torch.inference_mode():
            batch = Batch(None, index, index, Features(torch.from_numpy(array)))
            features = self.method.read(batch).features
            return self.method.encode_queries(features) if queries else self.method.encode(features)

    @cached_property
    def encoder(self) -> str:
        """The encoder by content: weights, normalisation and image size. Codes of two encoders are never
        compared.
        """
        backbone = self.method.backbone
        pixels = [] if isinstance(backbone, GivenFeatures) else [*backbone.mean, *backbone.std]
        about = f"{content_hash(self.method)} {self.transform.size} {pixels}"
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    def prepared(self, image: Image) -> NDArray[np.uint8]:
        """One image as the network's batches have it: bytes (3, size, size), scaled and cropped.

        Raises:
            InputError: it cannot be read.
        """
        return self._cropped([_pixels(image, self.transform.short_side)])[0].numpy()

    def encode_batch(self, images: Tensor, queries: bool = False) -> Codes:
        """Codes of images (b, 3, size, size), bytes or normalised floats."""
        with self._read(images) as features:
            return self.method.encode_queries(features) if queries else self.method.encode(features)

    def encode_and_embed_batch(self, images: Tensor, queries: bool) -> tuple[Codes, RealCodes | None]:
        """Codes of such images, and their real vectors where the method has them."""
        with self._read(images) as features:
            return self.method.encode_and_embed(features, queries)

    @contextmanager
    def _read(self, images: Tensor) -> Iterator[Features]:
        """Their features, in the run's precision."""
        index = torch.arange(len(images))
        half = _HALF.get(str(self.config.trainer.get("precision", "")))
        context = torch.autocast(self.method.device.type, half) if half else nullcontext()
        with torch.inference_mode(), context:
            yield self.method.read(Batch(images, index, index)).features

    def _transformed(self, images: Iterable[Image], batch_size: int) -> Iterator[Tensor]:
        given = [images] if isinstance(images, str | Path) else images
        block: list[NDArray[np.uint8]] = []
        for image in given:
            block.append(_pixels(image, self.transform.short_side))
            if len(block) == batch_size:
                yield self._cropped(block)
                block = []
        if block:
            yield self._cropped(block)

    def _cropped(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        shapes = [(len(image), image.shape[1]) for image in images]
        cuts = self.transform.cuts(shapes, [(i, 0) for i in range(len(images))])
        return cut_batch(images, cuts, self.transform.size)


def _images_of(batch: Any) -> Tensor:
    """The images of a batch of somebody's DataLoader."""
    images = batch[0] if isinstance(batch, list | tuple) else batch
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise InputError(f"images: a batch of {type(images).__name__}, expected tensors (b, 3, h, w)")
    return images


def _pixels(image: Image, short_side: int | None) -> NDArray[np.uint8]:
    """One image (h, w, 3) in bytes, its short side as the transform wants it."""
    if isinstance(image, str | Path):
        return read_image(Path(image), short_side)
    if not isinstance(image, Tensor | np.ndarray) and hasattr(image, "read"):
        return read_image(image, short_side)
    array = image.permute(1, 2, 0).numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise InputError(f"images: an array {array.shape} of {array.dtype}, expected (h, w, 3) of uint8")
    if short_side is None:
        return np.ascontiguousarray(array)
    return scaled(np.ascontiguousarray(array), scaled_shape(len(array), array.shape[1], short_side))
