"""CIFAR-10: 60,000 pictures of 32 pixels, the binary or the Python version as it unpacks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fghash.data import layout
from fghash.data.datamodule import RetrievalDataModule
from fghash.data.draws import permutation
from fghash.data.items import Arrays, Items, Official, Splits
from fghash.errors import InputError

Protocol = Literal["dpq", "official"]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OFFICIAL = Official(classes=10, train=50_000, query=10_000)
_BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
_QUERIES, _TRAINING = 100, 500  # of each class, under the protocol of DVSQ and DPQ


class Cifar10(RetrievalDataModule):
    """Ten kinds of things (Krizhevsky 2009), under the protocol of DVSQ and DPQ or the official split.

    Args:
        protocol: ``dpq``: of each class 100 queries, 500 training pictures, drawn by ``seed``, the rest as
            gallery; ``official``: 50,000 training pictures are the gallery, 10,000 the queries.
    """

    def __init__(
        self,
        *,
        protocol: Protocol = "dpq",
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
        features: str | None = None,
        views: int = 1,
    ) -> None:
        super().__init__(
            root=root,
            image_size=image_size,
            batch_size=batch_size,
            training_seed=training_seed,
            seed=seed,
            sampler=sampler,
            classes_per_batch=classes_per_batch,
            validation=validation,
            num_workers=num_workers,
            crop=crop,
            crop_scale=crop_scale,
            flip=flip,
            features=features,
            views=views,
        )
        if protocol not in ("dpq", "official"):
            raise InputError(f"--data.protocol: must be dpq or official, got {protocol!r}")
        self.protocol: Protocol = protocol

    def read(self) -> Splits:
        """The folder's splits, as :func:`read_cifar10`."""
        return read_cifar10(self.root, self.protocol, self.seed)


def read_cifar10(root: str | Path | None, protocol: Protocol = "dpq", seed: int = 0) -> Splits:
    """Read ``cifar-10-batches-bin`` or ``cifar-10-batches-py``.

    Raises:
        InputError: something is missing or not a batch of pictures, a label is out of range, a class is too
            small.
    """
    folder = layout.first_folder(root, "cifar-10-batches-bin", "cifar-10-batches-py")
    batches = [_batch(folder, name) for name in _BATCHES]
    pixels = np.concatenate([pictures for pictures, _ in batches])
    labels = np.concatenate([numbers for _, numbers in batches])
    n_train = sum(len(numbers) for _, numbers in batches[:-1])
    names = [f"{k:05d}" for k in range(len(labels))]
    everything = Items(Arrays(pixels), names, labels, np.arange(len(labels)))
    if protocol == "official":
        train = everything.take(np.arange(n_train))
        return Splits(train, train, everything.take(np.arange(n_train, len(labels))), CLASSES, OFFICIAL)
    train, gallery, query = (everything.take(indices) for indices in _drawn(labels, seed))
    return Splits(train, gallery, query, CLASSES)


def _drawn(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], ...]:
    """Positions of training, gallery and query pictures, the three apart, each in order."""
    train, gallery, query = [], [], []
    for label in range(len(CLASSES)):
        members = np.flatnonzero(labels == label)
        if len(members) <= _QUERIES + _TRAINING:
            raise InputError(
                f"--data.protocol: dpq needs more than {_QUERIES + _TRAINING} pictures of each class, "
                f"{CLASSES[label]} has {len(members)}"
            )
        shuffled = members[permutation(seed, label, n=len(members))]
        query.append(shuffled[:_QUERIES])
        train.append(shuffled[_QUERIES : _QUERIES + _TRAINING])
        gallery.append(shuffled[_QUERIES + _TRAINING :])
    return tuple(np.sort(np.concatenate(part)) for part in (train, gallery, query))


def _batch(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures (n, 32, 32, 3) and labels of one file."""
    binary, python = folder / f"{name}.bin", folder / name
    if not binary.exists() and not python.exists():
        raise InputError(
            f"--data.root: {folder} has no {name}.bin (or {name}), as this data set's layout has"
        )
    rows, labels = _read_binary(binary) if binary.exists() else _read_python(python)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise InputError(f"{folder / name}: labels must be from 0 to 9, got {labels.min()} to {labels.max()}")
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _read_binary(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = np.frombuffer(path.read_bytes(), np.uint8)
    if len(content) % 3073:
        raise InputError(f"{path}: {len(content)} bytes are not a whole number of pictures of 3,073 bytes")
    rows = content.reshape(-1, 3073)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


def _read_python(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="latin1").load()
        rows, labels = np.asarray(batch["data"], np.uint8), np.asarray(batch["labels"], np.int64)
    except Exception as error:
        raise InputError(f"{path}: not a batch of CIFAR-10 ({' '.join(str(error).split())})") from error
    if rows.shape != (len(labels), 3072):
        raise InputError(f"{path}: {len(labels)} labels but pictures of shape {rows.shape}")
    return rows, labels


class _ArraysOnly(pickle.Unpickler):
    """A pickle can name any function; this one may only name those that make up an array."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: str(text).encode(str(encoding))
        raise pickle.UnpicklingError(f"it names {module}.{name}")
