"""What codes look like as codes: balance, correlation, use of codewords, collisions of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fghash.codes import BinaryCodes, Codes, QuantizedCodes

_SAMPLE = 20_000  # items that are looked at


def code_health(codes: Codes, labels: np.ndarray) -> dict[str, Any]:
    """Facts about a gallery's codes and their labels (n,) or multi-hot (n, classes).

    Returns:
        ``items``; ``distinct``: different codes; ``shared``: of the items, the part whose code some item of
        another class has too; of binary codes ``balance``: mean over bits of the share of the rarer value
        (0.5 is best), and ``correlation``: mean absolute correlation of two bits; of quantized codes
        ``used``: mean over codebooks of the part of the codewords that occur.
    """
    if len(codes) > _SAMPLE:
        chosen = np.linspace(0, len(codes) - 1, _SAMPLE).astype(np.int64)
        codes, labels = codes.take(chosen), labels[chosen]
    facts: dict[str, Any] = {"items": len(codes)}
    if isinstance(codes, BinaryCodes):
        facts |= _of_bits(codes.bits)
        rows = codes.packed()
    elif isinstance(codes, QuantizedCodes):
        m, k, _ = codes.codebooks.shape
        facts["used"] = float(np.mean([len(np.unique(words)) / k for words in codes.indices.T])) if m else 0.0
        rows = codes.indices
    else:
        return facts
    _, number = np.unique(rows, axis=0, return_inverse=True)
    number = number.reshape(-1)
    facts["distinct"] = int(number.max()) + 1 if len(number) else 0
    facts["shared"] = _shared(number, labels) if labels.ndim == 1 else None
    return facts


def _of_bits(bits: np.ndarray) -> dict[str, float | None]:
    share = bits.mean(axis=0)
    balance = float(np.minimum(share, 1 - share).mean())
    varying = bits[:, (share > 0) & (share < 1)].astype(np.float64)
    if varying.shape[1] < 2:
        return {"balance": balance, "correlation": None}
    matrix = np.abs(np.corrcoef(varying.T))
    count = len(matrix)
    return {"balance": balance, "correlation": float((matrix.sum() - count) / (count * (count - 1)))}


def _shared(number: np.ndarray, labels: np.ndarray) -> float:
    """The part of the items whose code is that of an item of another class too."""
    pairs = np.unique(np.stack([number, labels], axis=1), axis=0)
    classes = np.bincount(pairs[:, 0])
    return float((classes[number] > 1).mean())
