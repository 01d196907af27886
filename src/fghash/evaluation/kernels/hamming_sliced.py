"""The compiled kernel for codes of few words: histograms of distances, 512 items at a time.

The gallery lies in bit planes: plane b of a tile holds bit b of its 512 items. A number of each item is a
list of planes as well, its binary digits, and adding two such numbers is a few logical instructions a digit.
The distances of a query to a tile are one sum, and the items at distance d are the ones of one mask. Two
things make it cheaper than counting the ones of every pair:

- The bits are taken in groups of 7. In how many of them an item differs from a query depends on 7 bits of
  the query: a table holds the digits for all 128 patterns and serves all queries. Of a word of 64 bits, 9
  numbers and 1 bit are left to add.
- A tile holds items of one parity (of the number of ones). The parity of a distance is then known, and half
  of the distances need no mask.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, untyped-decorator"
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fghash.compiled import compiled
from fghash.evaluation.work import Work

_WORDS = 8  # of 64 items: a tile
_TILE = 64 * _WORDS
_GROUP, _GROUPS = 7, 9  # bits of a group, and groups of a code word; bit 63 is left
_NUMBER = 3 * _WORDS  # words of a number of three digits
_LAST = _GROUPS * 2**_GROUP * _NUMBER  # where the two patterns of bit 63 are in the table of a code word
_TABLE = _LAST + 2 * _WORDS
MOST_WORDS = 4  # of a code: the tables of more leave the caches, and take long to compile for


class Slices(NamedTuple):
    """A gallery in tiles, of ``parity`` (tiles,), the last of each parity filled up with ``n_fillers`` codes.

    ``planes`` (tiles, bits, 8) uint64: bit j of word w of plane b of a tile is bit b of its item 64 w + j.
    """

    planes: np.ndarray
    parity: np.ndarray
    n_fillers: list[int]


def slices(codes: np.ndarray, work: Work) -> Slices:
    """Tiles of codes (g, words) uint64: the even ones, filled with the code 0, then the odd ones, with 1."""
    odd = _ones_of(codes) & 1
    n_odd = int(odd.sum())
    n_fillers = [-(len(codes) - n_odd) % _TILE, -n_odd % _TILE]
    n_even = (len(codes) - n_odd + n_fillers[0]) // _TILE
    fillers = [_filler(codes, value).repeat(n_fillers[value], 0) for value in (0, 1)]
    filled = np.concatenate([codes[odd == 0], fillers[0], codes[odd == 1], fillers[1]])
    planes = np.empty((len(filled) // _TILE, 64 * codes.shape[1], _WORDS), np.uint64)

    def turn(start: int, stop: int) -> None:
        _fill_planes(filled[_TILE * start : _TILE * stop], planes[start:stop])

    work.share(turn, len(planes), least=256)
    return Slices(planes, (np.arange(len(planes)) >= n_even).astype(np.int64), n_fillers)


def _ones_of(codes: np.ndarray) -> np.ndarray:
    """Number of ones (n,) int64 of each code."""
    return np.asarray(np.bitwise_count(codes).sum(axis=1, dtype=np.int64))


def _filler(codes: np.ndarray, value: int) -> np.ndarray:
    """The code 0 or 1, (1, words)."""
    filler = np.zeros_like(codes, shape=(1, codes.shape[1]))
    filler[0, 0] = value
    return filler


def count_slices(queries: np.ndarray, gallery: Slices, total: np.ndarray) -> None:
    """Add to the histograms ``total`` (q, bits + 1) of queries (q, words) uint64."""
    words = tuple(np.ascontiguousarray(word) for word in queries.T)  # their number is part of the type
    counts = np.zeros((len(queries), 64 * len(words) + 2), np.int32)  # the last distance does not occur
    table = _aligned(_TABLE * len(words), np.uint64)
    _count(words, _ones_of(queries) & 1, gallery.planes, gallery.parity, table, counts)
    for value, n in enumerate(gallery.n_fillers):
        counts[np.arange(len(queries)), _ones_of(queries ^ _filler(queries, value))] -= n
    total += counts[:, : total.shape[1]]


def _aligned(length: int, dtype: type) -> np.ndarray:
    """Zeros that begin at a cache line, which spares vector instructions from straddling two."""
    size = length * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype)


@compiled
def _fill_planes(codes, planes):
    block = np.empty(64, np.uint64)
    for tile in range(len(planes)):
        for w in range(_WORDS):
            first = tile * _TILE + 64 * w
            for word in range(codes.shape[1]):
                block[:] = codes[first : first + 64, word]
                _transpose(block)
                planes[tile, 64 * word : 64 * word + 64, w] = block


@compiled
def _transpose(block):
    """Exchange bit j of word i with bit i of word j, of 64 words: by squares of 32 bits, of 16, ..., of 1."""
    width, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    while width:
        for i in range(64):
            if not i & width:
                j = i + np.int64(width)
                change = ((block[i] >> width) ^ block[j]) & mask
                block[j] ^= change
                block[i] ^= change << width
        width >>= np.uint64(1)
        mask ^= mask << width


@compiled
def _count(queries, parity, planes, tile_parity, table, counts):
    cells = counts.reshape(-1)
    for tile in range(len(planes)):
        for word in range(len(queries)):
            of_word = planes[tile, 64 * word : 64 * word + 64].reshape(-1)
            _fill_table(table[_TABLE * word : _TABLE * word + _TABLE], of_word)
        for i in range(len(counts)):
            _count_tile(table, queries, i, cells, i * counts.shape[1] + (parity[i] ^ tile_parity[tile]))


@compiled
def _fill_table(table, planes):
    for group in range(_GROUPS):
        first = group * 2**_GROUP * _NUMBER
        table[first : first + _NUMBER] = 0
        for bit in range(_GROUP):
            half = _NUMBER * 2**bit
            for at in range(first, first + half, _NUMBER):
                _add_bit(table, at, at + half, planes, _WORDS * (_GROUP * group + bit))
    last = planes[_WORDS * 63 :]
    table[_LAST : _LAST + _WORDS] = last
    table[_LAST + _WORDS :] = ~last


@intrinsic
def _add_bit(context, table, at, to, planes, plane):
    """To the number in ``table`` at ``at`` add a plane; write at ``to`` what the opposite plane gives."""

    def generate(context, builder, signature, arguments):
        table, planes = (_data(context, builder, signature, arguments, i) for i in (0, 3))
        number, bit = _load(builder, table, arguments[1], 3), _load(builder, planes, arguments[4], 1)
        for start, added in ((arguments[1], bit[0]), (arguments[2], builder.not_(bit[0]))):
            for digit, plane in enumerate(_add(builder, number, [added])[:3]):
                builder.store(plane, _pointer(builder, table, start, digit), align=8)

    return types.void(table, at, to, planes, plane), generate


@intrinsic
def _count_tile(context, table, queries, i, cells, first):
    """Count a tile's items at distance d from query i in ``cells[first + d - parity]``, d of one parity.

    ``queries``: a tuple of arrays, one for each word of a code.
    """
    bits = 64 * len(queries)

    def generate(context, builder, signature, arguments):
        table, cells = (_data(context, builder, signature, arguments, i) for i in (0, 3))
        words = []
        for word in cgutils.unpack_tuple(builder, arguments[1]):
            array = context.make_array(queries.dtype)(context, builder, word)
            words.append(builder.load(builder.gep(array.data, [arguments[2]])))
        digits = _distances(builder, table, words)
        low, high = _masks(builder, digits[1:4]), _masks(builder, digits[4 : bits.bit_length()])
        for block, sixteen in enumerate(high[: bits // 16 + 1]):
            with builder.if_then(_any(builder, sixteen)):
                for pair, two in enumerate(low if block < bits // 16 else low[:1]):
                    found = _ones(builder, builder.and_(sixteen, two))
                    place = builder.add(arguments[4], ir.Constant(_I64, 16 * block + 2 * pair))
                    cell = builder.gep(cells, [place])
                    builder.store(builder.add(builder.load(cell), builder.trunc(found, _I32)), cell)

    return types.void(table, queries, i, cells, first), generate


_I32, _I64 = ir.IntType(32), ir.IntType(64)
_PLANE = ir.VectorType(_I64, _WORDS)


def _data(context, builder, signature, arguments, i):
    """Pointer to the first element of argument i, an array."""
    return context.make_array(signature.args[i])(context, builder, arguments[i]).data


def _pointer(builder, array, start, digit):
    place = builder.add(start, ir.Constant(_I64, digit * _WORDS))
    return builder.bitcast(builder.gep(array, [place]), _PLANE.as_pointer())


def _load(builder, array, start, n):
    """The n digits of the number at ``start``."""
    return [builder.load(_pointer(builder, array, start, digit), align=8) for digit in range(n)]


def _distances(builder, table, words):
    """Digits of the distances: of each word 9 numbers of three digits and a bit, looked up by its bits."""
    numbers, bits = [], []
    for word, query in enumerate(words):
        for group in range(_GROUPS):
            shifted = builder.lshr(query, ir.Constant(_I64, _GROUP * group))
            pattern = builder.and_(shifted, ir.Constant(_I64, 2**_GROUP - 1))
            start = builder.mul(pattern, ir.Constant(_I64, _NUMBER))
            start = builder.add(start, ir.Constant(_I64, word * _TABLE + group * 2**_GROUP * _NUMBER))
            numbers.append(_load(builder, table, start, 3))
        last = builder.mul(builder.lshr(query, ir.Constant(_I64, 63)), ir.Constant(_I64, _WORDS))
        bits += _load(builder, table, builder.add(last, ir.Constant(_I64, word * _TABLE + _LAST)), 1)
    while len(numbers) > 1:
        pairs = [numbers[i : i + 2] for i in range(0, len(numbers) - 1, 2)]
        left = numbers[2 * len(pairs) :]
        numbers = [_add(builder, x, y, bits.pop() if bits else None) for x, y in pairs] + left
    return numbers[0]


def _add(builder, x, y=(), carry=None):
    """Digits of x + y + carry, lowest first; y is no longer than x."""
    digits = []
    for place in range(len(x)):
        terms = [x[place], *y[place : place + 1], *([] if carry is None else [carry])]
        digit, carry = _add_planes(builder, *terms)
        digits.append(digit)
    return digits if carry is None else [*digits, carry]


def _add_planes(builder, x, y=None, z=None):
    """Digit and carry of the sum of one to three planes."""
    if y is None:
        return x, None
    differ, both = builder.xor(x, y), builder.and_(x, y)
    if z is None:
        return differ, both
    return builder.xor(differ, z), builder.or_(both, builder.and_(differ, z))


def _masks(builder, digits):
    """For each value of the digits, the items that have it."""
    masks = [ir.Constant(_PLANE, [ir.Constant(_I64, -1)] * _WORDS)]
    for digit in digits:
        masks = [builder.and_(mask, side) for side in (builder.not_(digit), digit) for mask in masks]
    return masks


def _any(builder, mask):
    """Whether a mask has a one."""
    joined = builder.call(_of_vector(builder, "llvm.vector.reduce.or", _I64), [mask])
    return builder.icmp_unsigned("!=", joined, ir.Constant(_I64, 0))


def _ones(builder, mask):
    """How many ones a mask has."""
    ones = builder.call(_of_vector(builder, "llvm.ctpop", _PLANE), [mask])
    return builder.call(_of_vector(builder, "llvm.vector.reduce.add", _I64), [ones])


def _of_vector(builder, name, result):
    """One of LLVM's functions of a plane."""
    name = f"{name}.v{_WORDS}i64"
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, [_PLANE]), name)
