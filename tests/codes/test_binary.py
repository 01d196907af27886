from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fghash.codes import BinaryCodes
from fghash.errors import InputError

BITS = st.integers(1, 140).flatmap(lambda b: arrays(np.bool_, st.tuples(st.integers(0, 5), st.just(b))))


def test_zero_is_a_positive_sign() -> None:
    values = np.array([[0.0, -0.0, -1e-30, 1e-30]])
    assert BinaryCodes.from_signs(values).bits.tolist() == [[True, True, False, True]]


@given(BITS)
def test_packing_is_undone_by_unpacking(bits: np.ndarray) -> None:
    codes = BinaryCodes(bits)
    again = BinaryCodes.from_packed(codes.packed(), codes.bits_per_item)
    assert np.array_equal(again.bits, bits)


@given(BITS)
def test_words_count_differing_bits(bits: np.ndarray) -> None:
    words = BinaryCodes(bits).words()
    assert words.shape == (len(bits), -(-bits.shape[1] // 64))
    for i in range(len(bits)):
        for j in range(len(bits)):
            counted = sum(int(a ^ b).bit_count() for a, b in zip(words[i], words[j], strict=True))
            assert counted == (bits[i] != bits[j]).sum()


def test_bit_i_is_bit_i_mod_8_of_byte_i_div_8() -> None:
    bits = np.zeros((1, 12), dtype=bool)
    bits[0, [0, 3, 9]] = True
    assert BinaryCodes(bits).packed().tolist() == [[0b1001, 0b10]]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", ">i4", "<f8", ">f4", "float16"])
def test_two_valued_numbers_of_any_type(dtype: str) -> None:
    expected = [[True, False], [False, True]]
    assert BinaryCodes.from_values(np.array(expected).astype(dtype)).bits.tolist() == expected
    if np.dtype(dtype).kind in "if":
        signs = np.where(np.array(expected), 1, -1).astype(dtype)
        assert BinaryCodes.from_values(signs).bits.tolist() == expected


def test_non_contiguous_values_keep_their_order() -> None:
    wide = np.arange(12).reshape(3, 4) % 2 == 0
    assert np.array_equal(BinaryCodes(wide.T).bits, wide.T.copy())
    assert np.array_equal(BinaryCodes(wide[::-1, ::2]).bits, wide[::-1, ::2].copy())


def test_take_and_prefix() -> None:
    codes = BinaryCodes(np.eye(4, dtype=bool))
    assert np.array_equal(codes.take([2, 0]).bits, np.eye(4, dtype=bool)[[2, 0]])
    assert len(codes.take(slice(1, 3))) == 2
    assert np.array_equal(codes.prefix(3).bits, np.eye(4, dtype=bool)[:, :3])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BinaryCodes.from_values([[0.5, 1]]), "codes: value 0.5"),
        (lambda: BinaryCodes.from_values([[0, 1], [-1, 1]]), "both 0 and -1"),
        (lambda: BinaryCodes.from_values([[2, 1]]), "codes: value 2"),
        (lambda: BinaryCodes.from_values([[np.nan, 1]]), "codes: value nan at (0, 0)"),
        (lambda: BinaryCodes.from_signs([[np.nan]]), "values: value nan"),
        (lambda: BinaryCodes.from_signs([["a"]]), "values: holds <U1"),
        (lambda: BinaryCodes(np.zeros((2, 3))), "bits: holds float64"),
        (lambda: BinaryCodes(np.zeros(3, dtype=bool)), "bits: shape (3,)"),
        (lambda: BinaryCodes(np.zeros((3, 0), dtype=bool)), "bits: shape (3, 0)"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 2), np.uint8), 17), "2 bytes an item with bits=17"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 2), np.uint8), 8), "2 bytes an item with bits=8"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 2), np.int32), 16), "codes_packed: holds int32"),
        (lambda: BinaryCodes(np.zeros((1, 4), dtype=bool)).prefix(5), "bits: 5, expected 1 to 4"),
        (lambda: BinaryCodes(np.zeros((1, 4), dtype=bool)).prefix(0), "bits: 0, expected 1 to 4"),
    ],
)
def test_bad_values_are_named(make, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
