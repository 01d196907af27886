"""One datamodule for every data set: four loaders, one way to train, one way to evaluate."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fghash.batch import Batch
from fghash.data.frozen.feature_rows import FeatureLoader, FeatureRows
from fghash.data.images.cache import Decoded
from fghash.data.images.cached import cached
from fghash.data.images.device import Resident, Uncut, uncut
from fghash.data.images.resample import compile_now
from fghash.data.images.transforms import (
    EvaluationTransform,
    TrainTransform,
    Transform,
    cut_batch,
    stored_size,
)
from fghash.data.items import Items, Splits, check_fraction, hold_out, tolerant
from fghash.data.overlap import queries_in_gallery, refuse_same_files, truncated
from fghash.data.sampling import (
    ClassBalanced,
    EvaluationSampler,
    FromSampler,
    Key,
    Order,
    Shuffled,
    TrainSampler,
    process,
)
from fghash.errors import InputError
from fghash.nvrtc import SlowWay

_LARGEST = 4096  # pixels
_MOST_VIEWS = 1000


class RetrievalDataModule(pl.LightningDataModule, ABC):
    """Training, validation, gallery and query loaders of a data set; a subclass writes :meth:`read`.

    Args:
        root: folder of the data.
        image_size: side of the square that the network sees, in pixels.
        batch_size: items of a global batch, over all processes.
        training_seed: draws order and augmentation.
        seed: draws the validation split.
        sampler: ``shuffle``, or ``pk``: batches of ``classes_per_batch`` classes with equal shares.
        classes_per_batch: for ``pk``.
        validation: part of each training class that is held out as validation queries; 0 is none.
        num_workers: loading processes; ``None``: all cores but one, or a quarter of them if the CPU trains.
        crop: of the training images, ``random_resized`` or ``random``.
        crop_scale: smallest and largest part of the area for ``random_resized``.
        flip: mirror half of the training images.
        cache: keep decoded images, short side at 1.15 x ``image_size``, in memory (``ram``), in the memory
            of each GPU too (``gpu``: no loading processes, no transfer), or in this folder. Evaluation is the
            same without; training crops are then drawn on the scaled images.
        tolerate_truncated: read incomplete image files as far as they go; the record counts them.
        title: name of one's own images in the leaderboard; ``null``: the name of the root folder.
        features: train on what the frozen part of the backbone gives, computed once and stored in this
            folder, or in memory (``ram``); needs ``--backbone.freeze``.
        views: views of each training image in the feature cache: that of evaluation and augmented ones; an
            epoch takes one.

    After ``setup()``: ``num_classes``, ``class_names``, ``families`` (of each class, or None),
    ``fingerprint``, ``description``, ``train_labels`` (of the items trained on), ``gallery_is_train``. A
    method's own order of the training items goes to ``train_order``.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        image_size: int = 224,
        batch_size: int = 64,
        training_seed: int = 0,
        seed: int = 0,
        sampler: Literal["shuffle", "pk"] = "shuffle",
        classes_per_batch: int = 8,
        validation: float = 0.0,
        num_workers: int | None = None,
        crop: Literal["random_resized", "random"] = "random_resized",
        crop_scale: tuple[float, float] = (0.08, 1.0),
        flip: bool = True,
        cache: str | None = None,
        tolerate_truncated: bool = False,
        title: str | None = None,
        features: str | None = None,
        views: int = 1,
    ) -> None:
        super().__init__()
        if image_size < 8:
            raise InputError(f"--data.image_size: must be at least 8 pixels, got {image_size}")
        if image_size > _LARGEST:
            raise InputError(f"--data.image_size: must be at most {_LARGEST} pixels, got {image_size}")
        if not 0 <= seed < 2**32:
            raise InputError(f"--data.seed: must be from 0 to {2**32 - 1}, got {seed}")
        if sampler not in ("shuffle", "pk"):
            raise InputError(f"--data.sampler: must be shuffle or pk, got {sampler!r}")
        if num_workers is not None and num_workers < 0:
            raise InputError(f"--data.num_workers: must be at least 0, got {num_workers}")
        if not 1 <= views <= _MOST_VIEWS:
            raise InputError(f"--data.views: must be from 1 to {_MOST_VIEWS}, got {views}")
        if views > 1 and features is None:
            raise InputError(f"--data.views: {views} without --data.features (views are of cached features)")
        check_fraction(validation)
        self.root = None if root is None else Path(root)
        self.batch_size, self.training_seed, self.seed = batch_size, training_seed, seed
        self.sampler, self.classes_per_batch = sampler, classes_per_batch
        self.validation, self.num_workers = validation, num_workers
        self.image_size, self.cache = image_size, cache
        self.tolerate_truncated, self.title = tolerate_truncated, title
        self.features, self.views = features, views
        self.queries_in_gallery, self.truncated_images = 0, 0
        self.train_transform = TrainTransform(image_size, training_seed, crop, crop_scale, flip)
        self.evaluation_transform = EvaluationTransform(image_size)
        self.with_queries = True  # tuning sees the training items alone
        self.train_order: Sampler[int] | Iterable[int] | None = None
        self._splits: Splits | None = None
        self._resident: Resident | None = None

    @abstractmethod
    def read(self) -> Splits:
        """Read the data set's lists: which items there are, not yet their pixels."""

    def setup(self, stage: str | None = None) -> None:
        """Read the lists and hold out the validation queries; once, however often it is called."""
        if self._splits is not None:
            return
        splits = self.read()
        self.fingerprint, self.description = splits.fingerprint, splits.description
        if not self.with_queries:
            splits = splits.training_only()
        self.splits_as_read = splits
        refuse_same_files(splits)
        self.queries_in_gallery = queries_in_gallery(splits)
        if self.tolerate_truncated:
            splits = tolerant(splits)
            self.truncated_images = sum(truncated(items) for _, items in splits.parts())
        if self.cache is not None:
            splits = cached(splits, self.cache, stored_size(self.image_size), n_cores())
        self.class_names, self.num_classes = splits.class_names, len(splits.class_names)
        self.families = splits.families
        self._place(splits)

    def _place(self, splits: Splits) -> None:
        self._splits = splits
        self.train_items, self.held_out = hold_out(splits.train, self.validation, self.seed)
        self.gallery_items, self.query_items = splits.gallery, splits.query
        self.train_labels = self.train_items.labels
        self.gallery_is_train = splits.gallery_is_train and not len(self.held_out)

    @property
    def splits(self) -> Splits:
        """The data set as it was read, validation queries included."""
        assert self._splits is not None, "setup() comes first"
        return self._splits

    @property
    def given_width(self) -> int | None:
        """Width of the vectors where the data set has vectors instead of images."""
        source = self.splits_as_read.train.source
        return source.shapes["pooled"][0] if isinstance(source, FeatureRows) else None

    def use_features(self, rows: Sequence[FeatureRows]) -> None:
        """From now on every loader gives features, those of each of :meth:`parts` in its order."""
        of_part = {id(items): source for (_, items), source in zip(self.parts(), rows, strict=True)}

        def moved(items: Items) -> Items:
            return replace(items, source=of_part[id(items)], positions=np.arange(len(items), dtype=np.int64))

        if self.with_queries:
            self._place(self.splits.map(moved))
        else:
            self._place(replace(self.splits, train=moved(self.splits.train)).training_only())

    def parts(self) -> list[tuple[str, Items]]:
        """The splits in use, each once with its name."""
        return self.splits.parts() if self.with_queries else [("train", self.splits.train)]

    def train_dataloader(self) -> Loader:
        """Augmented batches of this process, in the order of the current epoch."""
        return self._loader(
            self.train_items, self.train_transform, TrainSampler(self._order(), self.batch_size)
        )

    def val_dataloader(self) -> list[Loader]:
        """Validation queries and their gallery (the items trained on), or nothing without validation."""
        return [self._in_order(self.held_out), self._in_order(self.train_items)] if self.validation else []

    def gallery_dataloader(self) -> Loader:
        """The gallery, in order and not augmented."""
        return self._in_order(self.gallery_items)

    def query_dataloader(self) -> Loader:
        """The queries, in order and not augmented."""
        return self._in_order(self.query_items)

    def predict_dataloader(self) -> list[Loader]:
        """The test protocol: queries, then gallery."""
        return [self.query_dataloader(), self.gallery_dataloader()]

    def train_eval_dataloader(self) -> Loader:
        """The items trained on, in order and not augmented."""
        return self._in_order(self.train_items)

    def blocks(self, items: Items, transform: Transform, keys: Sequence[Sequence[Key]]) -> BatchLoader:
        """These batches, each the keys of its images."""
        n_workers = self._workers()
        loader = DataLoader(
            ImageBatches(items, transform),
            batch_sampler=keys,  # type: ignore[arg-type]  # any iterable of batches serves
            num_workers=n_workers,
            collate_fn=_as_it_is,
        )
        return BatchLoader(loader)

    def train_items_of_epoch(self) -> int:
        """Items that an epoch passes over, before incomplete batches are dropped."""
        return len(self._order())

    def _order(self) -> Order:
        if self.train_order is not None:
            return FromSampler(self.train_order)
        if self.sampler == "pk":
            return ClassBalanced(
                self.train_labels, self.batch_size, self.classes_per_batch, self.training_seed
            )
        return Shuffled(len(self.train_items), self.training_seed)

    def _in_order(self, items: Items) -> Loader:
        return self._loader(items, self.evaluation_transform, EvaluationSampler(len(items)))

    def _loader(
        self, items: Items, transform: Transform, sampler: TrainSampler | EvaluationSampler
    ) -> Loader:
        training = isinstance(sampler, TrainSampler)
        local = sampler.local_batch_size if isinstance(sampler, TrainSampler) else self.batch_size
        if isinstance(items.source, FeatureRows):
            return FeatureLoader(items, sampler, local, self.training_seed if training else None)
        resident = self._on_device(items)
        if resident is not None:
            batches: Dataset[Batch] = ResidentBatches(items, transform, resident)
            return BatchLoader(DataLoader(batches, batch_size=local, sampler=sampler, collate_fn=_as_it_is))
        n_workers = self._workers()
        loader = DataLoader(
            ImageBatches(items, transform, cut_here=not (training and self.cache and self._on_accelerator())),
            batch_size=local,
            sampler=sampler,
            num_workers=n_workers,
            collate_fn=_as_it_is,
            pin_memory=self._on_accelerator(),
            persistent_workers=training and n_workers > 0,
        )
        return BatchLoader(loader)

    def _on_device(self, items: Items) -> Resident | None:
        """The decoded images in the memory of the GPU that trains, brought there once."""
        if self.cache != "gpu" or not isinstance(items.source, Decoded) or self.trainer is None:
            return None
        if self._resident is None:
            device = self.trainer.strategy.root_device
            self._resident = Resident.of(items.source, device) if self._on_accelerator() else None
            if self._resident is None:
                warnings.warn(
                    f"--data.cache: gpu is not used on {device}, images stay in memory (ram)",
                    SlowWay,
                    stacklevel=2,
                )
                self.cache = "ram"
        return self._resident

    def _workers(self) -> int:
        n_workers = self._default_workers() if self.num_workers is None else self.num_workers
        if n_workers:
            compile_now()
        return n_workers

    def _default_workers(self) -> int:
        """Of this process's share of the cores all but one; a quarter if the cores train, too."""
        share = max(n_cores() // process()[1], 1)
        return share - 1 if self._on_accelerator() else share // 4

    def _on_accelerator(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type != "cpu"


class ImageBatches(Dataset[Batch]):
    """Items under a transform, a batch at a time, as bytes: cropped here, or to be cropped on the device."""

    def __init__(self, items: Items, transform: Transform, cut_here: bool = True) -> None:
        self.items, self.transform = items, transform
        self.pack: Callable[..., Tensor | Uncut] = cut_batch if cut_here else uncut

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        index = np.array([index for index, _ in keys])
        pictures = [self.items.read(i, self.transform.short_side) for i in index]
        cuts = self.transform.cuts([(len(picture), picture.shape[1]) for picture in pictures], keys)
        images: Any = self.pack(pictures, cuts, self.transform.size)
        return Batch(images, torch.from_numpy(self.items.labels[index]), torch.from_numpy(index))


class ResidentBatches(Dataset[Batch]):
    """Items whose images lie on the device: a batch is which of them, and which crops."""

    def __init__(self, items: Items, transform: Transform, resident: Resident) -> None:
        self.items, self.transform, self.resident = items, transform, resident

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        index = np.array([index for index, _ in keys])
        positions = self.items.positions[index]
        cuts = self.transform.cuts(self.resident.shapes(positions), keys)
        images = self.resident.uncut(positions, cuts, self.transform.size)
        return Batch(images, torch.from_numpy(self.items.labels[index]), torch.from_numpy(index))


class BatchLoader:
    """A DataLoader of bytes whose workers' errors stay readable.

    It is not a subclass of DataLoader, so that Lightning does not rebuild it; ``sampler`` is where Lightning
    finds ``set_epoch``.
    """

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self.loader = loader
        self.sampler, self.batch_sampler, self.dataset = loader.sampler, loader.batch_sampler, loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from self.loader
        except InputError as error:
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None


Loader = BatchLoader | FeatureLoader


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_it_is(batch: Any) -> Any:
    return batch
