"""Vectors that somebody else computed: a file of features, labels and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fghash.data.datamodule import RetrievalDataModule
from fghash.data.frozen.feature_rows import FeatureRows, Vectors
from fghash.data.items import Items, Splits
from fghash.errors import InputError

KINDS = (".npz", ".safetensors", ".parquet")
_SPLITS = {
    "train": "train", "query": "query", "test": "query", "gallery": "gallery", "database": "gallery",
    "0": "train", "1": "query", "2": "gallery",
}  # fmt: skip


class Features(RetrievalDataModule):
    """One row a vector: ``features`` (n, width), ``labels`` (n,) or (n, classes), ``split`` (n,).

    Labels are whole numbers or text, or multi-hot; splits are ``train``, ``query`` (or ``test``) and
    ``gallery`` (or ``database``), or 0, 1 and 2; without any ``gallery`` the gallery is the training set.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        batch_size: int = 64,
        training_seed: int = 0,
        seed: int = 0,
        sampler: Literal["shuffle", "pk"] = "shuffle",
        classes_per_batch: int = 8,
        validation: float = 0.0,
        title: str | None = None,
    ) -> None:
        super().__init__(
            root=root,
            batch_size=batch_size,
            training_seed=training_seed,
            seed=seed,
            sampler=sampler,
            classes_per_batch=classes_per_batch,
            validation=validation,
            title=title,
        )

    def read(self) -> Splits:
        """The file's splits, as :func:`read_features`."""
        return read_features(self.root)


def read_features(root: str | Path | None) -> Splits:
    """Read a ``.npz``, ``.safetensors`` or ``.parquet`` file; nothing in it is run.

    Raises:
        InputError: no such file, an array is missing or of another shape, a value is not finite, a split is
            unknown or empty, or a query's class is not in the gallery.
    """
    if root is None or not Path(root).expanduser().is_file():
        raise InputError(f"--data.root: no file '{root}' (expected one of {', '.join(KINDS)})")
    path = Path(root).expanduser()
    arrays = _arrays(path)
    vectors, labels = _vectors(path, arrays["features"]), _labels(path, arrays["labels"])
    splits = _splits(path, arrays["split"])
    if not len(vectors) == len(labels) == len(splits):
        sizes = f"{len(vectors)} features, {len(labels)} labels, {len(splits)} splits"
        raise InputError(f"--data.root: {path} has {sizes}, expected as many of each")
    numbers, names = _numbered(labels)
    parts = {split: np.flatnonzero(splits == split) for split in ("train", "query", "gallery")}
    for split in ("train", "query"):
        if not len(parts[split]):
            raise InputError(f"--data.root: {path} has no vector of split {split}")
    _refuse_unfindable(path, numbers, parts, names)
    rows = FeatureRows([{"pooled": Vectors(vectors)}])
    items = {
        split: Items(rows, [str(row) for row in index], numbers[index], index.astype(np.int64))
        for split, index in parts.items()
    }
    gallery = items["gallery"] if len(parts["gallery"]) else items["train"]
    content = hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()[:12]
    return Splits(items["train"], gallery, items["query"], names, parameters=content)


def _arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    readers = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    if path.suffix not in readers:
        raise InputError(f"--data.root: '{path}', expected a file ending in {', '.join(KINDS)}")
    try:
        found = readers[path.suffix](path)
    except InputError:
        raise
    except Exception as error:  # whatever a reader makes of a file that is something else
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--data.root: {path} cannot be read ({reason})") from error
    missing = [name for name in ("features", "labels", "split") if name not in found]
    if missing:
        raise InputError(f"--data.root: {path} has no '{missing[0]}' (expected features, labels, split)")
    return found


def _npz(path: Path) -> Mapping[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in ("features", "labels", "split") if name in file}


def _safetensors(path: Path) -> Mapping[str, NDArray[Any]]:
    from safetensors.torch import load_file

    return {
        name: (value.float() if value.is_floating_point() else value).numpy()
        for name, value in load_file(path).items()
    }


def _parquet(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(
            "--data.root: a .parquet file needs the package pyarrow (pip install pyarrow)"
        ) from None
    table = parquet.read_table(path)
    return {
        name: _stacked(table[name].to_pylist())
        for name in ("features", "labels", "split")
        if name in table.column_names
    }


def _stacked(values: list[Any]) -> NDArray[Any]:
    if values and isinstance(values[0], list) and len({len(row) for row in values}) > 1:
        raise ValueError("its vectors are not all of one length")
    return np.array(values)


def _vectors(path: Path, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.shape[1]:
        raise InputError(
            f"--data.root: features of {path} are {values.shape} of {values.dtype}, expected (n, width)"
        )
    vectors = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(wrong):
        raise InputError(f"--data.root: features of {path} hold NaN or infinity in row {wrong[0]}")
    return vectors


def _labels(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    numbers = values.dtype.kind in "iub"
    if (values.ndim == 1 and (numbers or values.dtype.kind == "U")) or (
        values.ndim == 2 and numbers and np.isin(values, (0, 1)).all()
    ):
        return values
    raise InputError(
        f"--data.root: labels of {path} are {values.shape} of {values.dtype}, expected (n,) whole numbers or "
        "text, or (n, classes) of 0 and 1"
    )


def _splits(path: Path, values: NDArray[Any]) -> NDArray[np.str_]:
    texts = [str(value) for value in values.tolist()] if values.ndim == 1 else []
    unknown = next((text for text in texts if text not in _SPLITS), None)
    if unknown is not None or values.ndim != 1:
        got = f"{values.shape}" if unknown is None else repr(unknown)
        raise InputError(f"--data.root: split of {path} holds {got}, expected {', '.join(_SPLITS)}")
    return np.array([_SPLITS[text] for text in texts])


def _numbered(labels: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Classes from 0 in order of their names, and the names; multi-hot labels as they are."""
    if labels.ndim == 2:
        return labels.astype(np.uint8), tuple(str(number) for number in range(labels.shape[1]))
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), tuple(str(name) for name in names)


def _refuse_unfindable(
    path: Path, labels: NDArray[Any], parts: Mapping[str, NDArray[np.int64]], names: tuple[str, ...]
) -> None:
    if labels.ndim == 2:
        return
    stored = parts["gallery"] if len(parts["gallery"]) else parts["train"]
    lost = np.setdiff1d(labels[parts["query"]], labels[stored])
    if len(lost):
        raise InputError(f"--data.root: query class '{names[lost[0]]}' of {path} is not in the gallery")
