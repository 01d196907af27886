"""Concatenate the codes of several batches or processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from fghash.codes.binary import BinaryCodes
from fghash.codes.kinds import Codes
from fghash.codes.quantized import QuantizedCodes
from fghash.codes.real import RealCodes
from fghash.errors import InputError

C = TypeVar("C", bound=Codes)


def concatenate(parts: Sequence[C]) -> C:
    """All items of ``parts``, in order.

    Raises:
        InputError: no part, parts of different kinds or lengths, or quantized parts with different codebooks.
    """
    if not parts:
        raise InputError("parts: nothing to concatenate, expected at least one")
    first = parts[0]
    for part in parts:
        if type(part) is not type(first) or part.bits_per_item != first.bits_per_item:
            raise InputError(
                f"parts: {_kind(part)} and {_kind(first)}, expected codes of one kind and length"
            )
    return cast(C, _JOIN[type(first)](parts))


def _kind(codes: Codes) -> str:
    return f"{type(codes).__name__} of {codes.bits_per_item} bits"


def _join_binary(parts: Sequence[BinaryCodes]) -> BinaryCodes:
    return BinaryCodes(np.concatenate([part.bits for part in parts]))


def _join_real(parts: Sequence[RealCodes]) -> RealCodes:
    if len({part.similarity for part in parts}) > 1:
        raise InputError("parts: different similarities, expected one")
    return RealCodes(np.concatenate([part.vectors for part in parts]), parts[0].similarity)


def _join_quantized(parts: Sequence[QuantizedCodes]) -> QuantizedCodes:
    first = parts[0]
    for part in parts:
        same = (part.structure, part.similarity) == (first.structure, first.similarity)
        if not same or not np.array_equal(part.codebooks, first.codebooks):
            raise InputError("parts: different codebooks, structures or similarities, expected the same")
    indices = np.concatenate([part.indices for part in parts])
    return QuantizedCodes(indices, first.codebooks, first.structure, first.similarity)


_JOIN: dict[type, Callable[[Any], Codes]] = {
    BinaryCodes: _join_binary,
    QuantizedCodes: _join_quantized,
    RealCodes: _join_real,
}
