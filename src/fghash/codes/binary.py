"""Binary codes: booleans, so that a third symbol cannot exist; compared by Hamming distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fghash.codes.kinds import as_array, require_finite, require_matrix
from fghash.errors import InputError


@dataclass(frozen=True, eq=False)
class BinaryCodes:
    """Codes of b bits; ``bits`` (n, b) booleans. The distance is the number of differing bits.

    Raises:
        InputError: not a boolean matrix.

    >>> codes = BinaryCodes.from_signs([[0.5, -2.0, 0.0]])
    >>> codes.bits.tolist(), codes.bits_per_item
    ([[True, False, True]], 3)
    """

    bits: np.ndarray

    def __post_init__(self) -> None:
        bits = as_array(self.bits, "bits")
        require_matrix(bits, "bits")
        if bits.dtype != np.bool_:
            raise InputError(
                f"bits: holds {bits.dtype}, expected booleans (from_signs or from_values convert)"
            )
        object.__setattr__(self, "bits", np.ascontiguousarray(bits))

    @classmethod
    def from_signs(cls, values: Any) -> BinaryCodes:
        """Codes of real values (n, b): a value >= 0 is True, so zero has a side.

        Raises:
            InputError: NaN or infinite values.
        """
        array = as_array(values, "values")
        require_finite(array, "values")
        return cls(array >= 0)

    @classmethod
    def from_values(cls, values: Any) -> BinaryCodes:
        """Codes of two-valued numbers (n, b): all in {0, 1} or all in {-1, +1}.

        Raises:
            InputError: any other value, or both zeros and minus ones.
        """
        array = as_array(values, "codes")
        require_matrix(array, "codes")
        require_finite(array, "codes")
        if array.dtype == np.bool_:
            return cls(array)
        _require_two_values(array)
        return cls(array > 0)

    @classmethod
    def from_packed(cls, packed: Any, bits: int) -> BinaryCodes:
        """Codes of bytes (n, ceil(bits / 8)) in little bit order: bit i is bit i % 8 of byte i // 8.

        Bits of the last byte beyond ``bits`` are ignored.

        Raises:
            InputError: not bytes, or a width that does not fit ``bits``.
        """
        array = as_array(packed, "codes_packed")
        require_matrix(array, "codes_packed")
        if array.dtype != np.uint8:
            raise InputError(f"codes_packed: holds {array.dtype}, expected uint8")
        if bits < 1 or array.shape[1] != -(-bits // 8):
            raise InputError(
                f"codes_packed: {array.shape[1]} bytes an item with bits={bits}, expected ceil(bits / 8)"
            )
        return cls(np.unpackbits(array, axis=1, count=bits, bitorder="little").view(np.bool_))

    @property
    def bits_per_item(self) -> int:
        """The code length b."""
        return int(self.bits.shape[1])

    def __len__(self) -> int:
        return len(self.bits)

    def take(self, indices: Any) -> BinaryCodes:
        """The items at these positions."""
        return BinaryCodes(self.bits[indices])

    def prefix(self, bits: int) -> BinaryCodes:
        """The first ``bits`` bits of every code.

        Raises:
            InputError: fewer than 1 or more than there are.
        """
        if not 1 <= bits <= self.bits_per_item:
            raise InputError(f"bits: {bits}, expected 1 to {self.bits_per_item}")
        return BinaryCodes(self.bits[:, :bits])

    def packed(self) -> np.ndarray:
        """(n, ceil(b / 8)) uint8 in little bit order; unused bits are zero."""
        return np.packbits(self.bits, axis=1, bitorder="little")

    def words(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(n, ceil(b / 64)) uint64 for counting differing bits; unused bits are zero."""
        packed = np.packbits(self.bits[start:stop], axis=1, bitorder="little")
        missing = -packed.shape[1] % 8
        if missing:
            packed = np.pad(packed, ((0, 0), (0, missing)))
        return np.ascontiguousarray(packed).view(np.uint64)


def _require_two_values(array: np.ndarray) -> None:
    zero_one = (array == 0) | (array == 1)
    if zero_one.all():
        return
    minus_plus = (array == -1) | (array == 1)
    if minus_plus.all():
        return
    known = zero_one | minus_plus
    if known.all():
        raise InputError("codes: both 0 and -1 occur, expected values in {0, 1} or in {-1, 1}")
    raise InputError(f"codes: value {array[~known][0]}, expected values in {{0, 1}} or in {{-1, 1}}")
