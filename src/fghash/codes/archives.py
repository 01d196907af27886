"""Codes and labels in one ``.npz`` file, read without pickle.

========== ===========================================================================================
kind       arrays, in addition to ``labels`` (n,) integers or (n, classes) 0/1
========== ===========================================================================================
binary     ``codes`` (n, bits) in {0, 1} or {-1, +1}; or ``codes_packed`` (n, ceil(bits / 8)) uint8 in
           little bit order, and ``bits``
quantized  ``indices`` (n, m), ``codebooks`` (m, k, d), ``structure`` product|additive, ``similarity``
           dot|l2
real       ``embeddings`` (n, d) and, for galleries, ``similarity`` cosine|dot|l2 (cosine if absent)
========== ===========================================================================================
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fghash.codes.binary import BinaryCodes
from fghash.codes.kinds import Codes
from fghash.codes.labels import as_labels
from fghash.codes.quantized import QuantizedCodes
from fghash.codes.real import RealCodes
from fghash.errors import InputError
from fghash.files import replacing

_ROOM, _RATIO = 2**30, 200  # bytes that any file may unpack to; beyond them only so many times its size


def save_codes(path: str | Path, codes: Codes, labels: Any) -> None:
    """Write codes and labels, all or nothing: a reader never sees half a file.

    Raises:
        InputError: numbers of codes and labels differ.
    """
    arrays = {**arrays_of(codes), "labels": as_labels(labels)}
    _require_same_length(codes, arrays["labels"], str(path))
    save_arrays(path, arrays)


def load_codes(path: str | Path) -> tuple[Codes, np.ndarray]:
    """Codes and labels of a file.

    Raises:
        InputError: no such file, not an npz, a pickle inside, a key missing, or contents that are not codes.
    """
    arrays = load_arrays(path)
    try:
        codes = codes_of(arrays)
        labels = as_labels(_get(arrays, "labels"))
        _require_same_length(codes, labels, "labels")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return codes, labels


def save_arrays(
    path: str | Path, arrays: Mapping[str, Any], *, compressed: bool = True, argument: str = "path"
) -> None:
    """Write an ``.npz`` under exactly this name, all or nothing; errors name the ``argument``.

    Raises:
        InputError: the file cannot be written there.
    """
    with replacing(path, argument) as temporary, temporary.open("wb") as file:
        values = {key: np.asarray(value) for key, value in arrays.items()}
        (np.savez_compressed if compressed else np.savez)(file, **values)  # type: ignore[arg-type]


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``.

    Raises:
        InputError: no such file, not an npz, damaged, or a pickle inside.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an .npz of codes and labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            _refuse_bomb(path, file.zip)
            arrays = {key: file[key] for key in file.files}
    except InputError:
        raise
    except Exception as error:  # damage shows as anything, from zipfile's errors to those of numpy's parser
        if "pickle" in str(error) and "allow_pickle=False" in str(error) and zipfile.is_zipfile(path):
            raise InputError(f"{path}: holds Python objects (a pickle), expected plain arrays") from None
        raise InputError(f"{path}: not a readable .npz file") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives members of other formats as bytes
            raise InputError(f"{path}: not a readable .npz file ('{key}' is not an array)")
    return arrays


def _refuse_bomb(path: Path, packed: zipfile.ZipFile) -> None:
    """Zeros shrink a thousandfold: a small file that would fill the memory is not one of codes."""
    n_bytes = sum(member.file_size for member in packed.infolist())
    if n_bytes > max(_ROOM, _RATIO * path.stat().st_size):
        raise InputError(f"{path}: {path.stat().st_size:,} bytes that unpack to {n_bytes:,}, refused")


def _require_same_length(codes: Codes, labels: np.ndarray, name: str) -> None:
    if len(codes) != len(labels):
        raise InputError(f"{name}: {len(labels)} labels for {len(codes)} codes, expected one label an item")


def _get(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if key not in arrays:
        raise InputError(f"no array '{key}' (found: {', '.join(sorted(arrays)) or 'nothing'})")
    return arrays[key]


def _text(arrays: Mapping[str, np.ndarray], key: str) -> str:
    return str(_get(arrays, key))


def _length(arrays: Mapping[str, np.ndarray]) -> int:
    bits = _get(arrays, "bits")
    if bits.size != 1 or bits.dtype.kind not in "iu":
        raise InputError(f"bits: {bits.tolist()}, expected one integer")
    return int(bits.reshape(-1)[0])


def codes_of(arrays: Mapping[str, np.ndarray]) -> Codes:
    """The codes among the arrays of a file.

    Raises:
        InputError: there are none, of several kinds, or damaged ones.
    """
    kinds = [key for key in _READ if key in arrays]
    if len(kinds) != 1:
        raise InputError(f"{' and '.join(kinds) or 'no codes'}, expected one of {', '.join(_READ)}")
    return _READ[kinds[0]](arrays)


def _read_quantized(arrays: Mapping[str, np.ndarray]) -> Codes:
    structure, similarity = _text(arrays, "structure"), _text(arrays, "similarity")
    return QuantizedCodes(arrays["indices"], _get(arrays, "codebooks"), structure, similarity)


def _read_real(arrays: Mapping[str, np.ndarray]) -> Codes:
    similarity = _text(arrays, "similarity") if "similarity" in arrays else "cosine"
    return RealCodes(arrays["embeddings"], similarity)


_READ: dict[str, Callable[[Mapping[str, np.ndarray]], Codes]] = {
    "codes": lambda arrays: BinaryCodes.from_values(arrays["codes"]),
    "codes_packed": lambda arrays: BinaryCodes.from_packed(arrays["codes_packed"], _length(arrays)),
    "indices": _read_quantized,
    "embeddings": _read_real,
}


def arrays_of(codes: Codes) -> dict[str, Any]:
    """The codes as arrays of a file."""
    if isinstance(codes, BinaryCodes):
        return {"codes_packed": codes.packed(), "bits": np.int64(codes.bits_per_item)}
    if isinstance(codes, QuantizedCodes):
        choice = {"structure": np.str_(codes.structure), "similarity": np.str_(codes.similarity)}
        return {"indices": codes.indices, "codebooks": codes.codebooks, **choice}
    if isinstance(codes, RealCodes):
        return {"embeddings": codes.vectors, "similarity": np.str_(codes.similarity)}
    raise InputError(f"codes: {type(codes).__name__}, expected BinaryCodes, QuantizedCodes or RealCodes")
