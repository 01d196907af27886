"""Codes of images with their ids, in one file: ``.npz``, ``.parquet`` or ``.lance``.

Beside the codes (as in :mod:`fghash.codes.archives`) a file holds ``ids``, ``labels`` where they are known,
``vectors`` for re-ranking where they were asked for, and ``facts``: JSON of what made them.

``.parquet`` and ``.lance`` have a row an item: ``id``, ``code`` (bytes: bit i is bit i % 8 of byte i // 8;
or the indices of the codewords, little-endian), or ``vector`` for real codes; ``label``; ``rerank_vector``.
Their metadata hold ``fghash`` (the facts) and, of quantized codes, ``codebooks`` (float32, little-endian,
in base64).
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes, as_labels
from fghash.codes.archives import arrays_of, codes_of, load_arrays, save_arrays
from fghash.errors import InputError
from fghash.files import full_disk, replacing
from fghash.optional import import_package

SUFFIXES = (".npz", ".parquet", ".lance")


@dataclass(frozen=True)
class CodedItems:
    """Items (n) with their codes.

    Args:
        codes: of the items.
        ids: (n,) texts that differ.
        labels: (n,) or ``None``.
        vectors: real vectors of the same items, for re-ranking, or ``None``.
        facts: what made the codes: ``encoder``, ``run``, ``method``, ``bits``, ``class_names``, ``folder``
            (that relative paths are relative to), whatever is known.

    Raises:
        InputError: numbers that differ, or an id twice.
    """

    codes: Codes
    ids: np.ndarray
    labels: np.ndarray | None = None
    vectors: RealCodes | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("ids", "labels", "vectors"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.codes):
                raise InputError(f"{name}: {len(value):,} for {len(self.codes):,} codes, expected as many")
        if len(set(self.ids.tolist())) != len(self.ids):
            values, counts = np.unique(self.ids, return_counts=True)
            raise InputError(
                f"ids: '{values[counts.argmax()]}' {counts.max()} times, expected ids that differ"
            )

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, positions: Any) -> CodedItems:
        """The items at these positions."""
        labels = None if self.labels is None else self.labels[positions]
        vectors = None if self.vectors is None else self.vectors.take(positions)
        return CodedItems(self.codes.take(positions), self.ids[positions], labels, vectors, self.facts)


def save_items(path: Path, items: CodedItems) -> None:
    """Write the file, all or nothing.

    Raises:
        InputError: an unknown suffix, a package that is missing, or a file that cannot be written.
    """
    require_suffix(path)
    if path.suffix == ".npz":
        save_arrays(path, arrays_of_items(items), argument="--out")
        return
    table = _table(items)
    if path.suffix == ".parquet":
        parquet = import_package("pyarrow.parquet", path, "tables")
        with replacing(path, "--out") as temporary:
            parquet.write_table(table, temporary)
    else:
        _save_lance(path, table)


def load_items(path: Path) -> CodedItems:
    """What :func:`save_items` wrote; an ``.npz`` of any code base is read, too: ids are then positions.

    Raises:
        InputError: no such file, or not one of codes.
    """
    require_suffix(path, "codes")
    if not path.exists():
        raise InputError(f"codes: there is no '{path}'")
    try:
        return _of_arrays(load_arrays(path)) if path.suffix == ".npz" else _of_table(_read_table(path))
    except InputError as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"codes: {path}: {text}") from None


def require_suffix(path: Path, argument: str = "--out") -> None:
    """Refuse other formats before any work."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{argument}: '{path}', expected a name that ends in {', '.join(SUFFIXES)}")


# -- npz -----------------------------------------------------------------------------------------------------


def arrays_of_items(items: CodedItems) -> dict[str, Any]:
    """The arrays of an ``.npz``."""
    arrays = {**arrays_of(items.codes), "ids": np.asarray(items.ids, dtype=np.str_)}
    arrays["facts"] = np.str_(json.dumps(dict(items.facts)))
    if items.labels is not None:
        arrays["labels"] = items.labels
    if items.vectors is not None:
        arrays["vectors"] = items.vectors.vectors
        arrays["vectors_similarity"] = np.str_(items.vectors.similarity)
    return arrays


def _of_arrays(arrays: Mapping[str, np.ndarray]) -> CodedItems:
    codes = codes_of(arrays)
    ids = arrays.get("ids", np.arange(len(codes)).astype(np.str_))
    if ids.ndim != 1 or ids.dtype.kind not in "UiuS":
        raise InputError(f"ids: {ids.dtype} of shape {ids.shape}, expected (items,) texts or integers")
    vectors = None
    if "vectors" in arrays:
        vectors = RealCodes(arrays["vectors"], str(arrays.get("vectors_similarity", "cosine")))
    labels = as_labels(arrays["labels"]) if "labels" in arrays else None
    facts = _facts(str(arrays["facts"])) if "facts" in arrays else {}
    return CodedItems(codes, ids.astype(np.str_), labels, vectors, facts)


def _facts(text: str | bytes) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError("facts: not a JSON object")
    return facts


# -- tables --------------------------------------------------------------------------------------------------


def _table(items: CodedItems) -> Any:
    pa = import_package("pyarrow", "--out", "tables")
    codes = items.codes
    about: dict[str, Any] = {"facts": dict(items.facts), "kind": type(codes).__name__}
    extra: dict[bytes, bytes] = {}
    columns: dict[str, Any] = {"id": pa.array([str(each) for each in items.ids], pa.string())}
    if isinstance(codes, RealCodes):
        columns["vector"] = _vectors(pa, codes.vectors)
        about["similarity"] = codes.similarity
    elif isinstance(codes, BinaryCodes):
        columns["code"] = _bytes(pa, codes.packed())
        about |= {"bits": codes.bits_per_item, "bit_order": "little: bit i is bit i % 8 of byte i // 8"}
    elif isinstance(codes, QuantizedCodes):
        columns["code"] = _bytes(pa, _little(codes.indices).view(np.uint8).reshape(len(codes), -1))
        about |= {"structure": codes.structure, "similarity": codes.similarity}
        about |= {"shape": codes.codebooks.shape, "index_type": codes.indices.dtype.newbyteorder("<").str}
        extra[b"codebooks"] = base64.b64encode(_little(codes.codebooks).tobytes())
    if items.labels is not None and items.labels.ndim == 1:
        columns["label"] = pa.array(items.labels)
    elif items.labels is not None:
        columns["label"] = pa.array([np.flatnonzero(row).tolist() for row in items.labels])
        about["classes"] = items.labels.shape[1]
    if items.vectors is not None:
        columns["rerank_vector"] = _vectors(pa, items.vectors.vectors)
        about["rerank_similarity"] = items.vectors.similarity
    return pa.table(columns).replace_schema_metadata({b"fghash": json.dumps(about).encode(), **extra})


def _little(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _bytes(pa: Any, packed: np.ndarray) -> Any:
    width = packed.shape[1]
    flat = pa.py_buffer(np.ascontiguousarray(packed).tobytes())
    return pa.Array.from_buffers(pa.binary(width), len(packed), [None, flat])


def _vectors(pa: Any, vectors: np.ndarray) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def _save_lance(path: Path, table: Any) -> None:
    lance = import_package("lance", "--out", "tables")
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with full_disk("--out", path.parent):
        try:
            lance.write_dataset(table, str(temporary))
            old = path.with_name(f".{path.name}.old")
            if path.exists():
                path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _read_table(path: Path) -> Any:
    try:
        if path.suffix == ".lance":
            return import_package("lance", path, "tables").dataset(str(path)).to_table()
        return import_package("pyarrow.parquet", path, "tables").read_table(path)
    except InputError:
        raise
    except Exception as error:  # whatever a reader makes of damage
        raise InputError(f"not a readable {path.suffix} ({' '.join(str(error).split())[:200]})") from None


def _of_table(table: Any) -> CodedItems:
    metadata = table.schema.metadata or {}
    names = set(table.column_names)
    if b"fghash" not in metadata or "id" not in names:
        raise InputError("not written by fghash (no metadata 'fghash', or no column 'id')")
    about = _facts(metadata[b"fghash"])
    try:
        codes = _codes(table, about, metadata.get(b"codebooks", b""))
        vectors = None
        if "rerank_vector" in names:
            vectors = RealCodes(_matrix(table, "rerank_vector"), about["rerank_similarity"])
        labels = _labels(table, about) if "label" in names else None
        ids = np.asarray(table["id"].to_pylist(), dtype=np.str_)
        return CodedItems(codes, ids, labels, vectors, dict(about["facts"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"damaged ({error})") from None


def _codes(table: Any, about: Mapping[str, Any], codebooks: bytes) -> Codes:
    if about["kind"] == "RealCodes":
        return RealCodes(_matrix(table, "vector"), about["similarity"])
    rows = b"".join(table["code"].to_pylist())
    packed = np.frombuffer(rows, np.uint8).reshape(table.num_rows, -1)
    if about["kind"] == "BinaryCodes":
        return BinaryCodes.from_packed(packed, int(about["bits"]))
    indices = packed.view(np.dtype(about["index_type"])).astype(np.int64)
    books = np.frombuffer(base64.b64decode(codebooks), "<f4").reshape(about["shape"])
    return QuantizedCodes(indices, books, about["structure"], about["similarity"])


def _matrix(table: Any, name: str) -> np.ndarray:
    column = table[name].combine_chunks()
    values = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
    return values.reshape(table.num_rows, -1)


def _labels(table: Any, about: Mapping[str, Any]) -> np.ndarray:
    values = table["label"].to_pylist()
    if "classes" not in about:
        return as_labels(np.asarray(values))
    labels = np.zeros((len(values), int(about["classes"])), np.bool_)
    for row, classes in zip(labels, values, strict=True):
        row[classes] = True
    return labels


def remove_quietly(path: Path) -> None:
    """Delete a folder or a file, if it is there."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
