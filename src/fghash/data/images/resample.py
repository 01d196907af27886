"""Crop, scale and mirror an image in one pass: the inner loop of all loading.

Bilinear with antialiasing, as Pillow and torchvision resize: a result pixel is the mean of the source under a
triangle that is as wide as the larger of the two pixels. All of it is whole numbers, so that every device
gives the same bytes (:mod:`fghash.data.images.device`): the weights of a result pixel are 4096ths, and what
rows give is rounded to 16ths of a level before columns are blended. Against torchvision's own kernel on bytes
it differs by at most one level, in half the time, and it writes straight into the batch.
"""

# mypy: disable-error-code="no-untyped-def, operator, call-overload"
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fghash.compiled import compiled

Pixels = NDArray[np.uint8]
UNIT = 4096  # the sum of a result pixel's weights, in rows and in columns
FINE = 16  # steps of a level between the two


class Cut(NamedTuple):
    """What is kept of an image, in its pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirror: bool = False


def cut_out(picture: Pixels, cut: Cut, out: NDArray[np.uint8]) -> None:
    """Scale what ``cut`` keeps of a (height, width, 3) image to the size of ``out`` (3, rows, columns)."""
    top, left, height, width, mirror = cut
    if out.shape[1:] == (height, width):
        kept = picture[top : top + height, left : left + width].transpose(2, 0, 1)
        out[...] = kept[:, :, ::-1] if mirror else kept
        return
    fixed = np.ascontiguousarray(picture).view()
    fixed.flags.writeable = False  # one type of array, so one compilation
    _resample(fixed, top, left, height, width, mirror, out)


def compile_now() -> None:
    """Compile, or read what is compiled, so that processes forked from this one need not."""
    cut_out(np.zeros((2, 2, 3), np.uint8), Cut(0, 0, 2, 2), np.empty((3, 1, 1), np.uint8))


def scaled_shape(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The shape after scaling the short side, the long side rounded down as torchvision does."""
    if height < width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def scaled(picture: Pixels, shape: tuple[int, int]) -> Pixels:
    """The whole image at another (height, width)."""
    if picture.shape[:2] == shape:
        return picture
    out = np.empty((3, *shape), np.uint8)
    cut_out(picture, Cut(0, 0, *picture.shape[:2]), out)
    return np.ascontiguousarray(out.transpose(1, 2, 0))


def _compiled(function: Callable[..., None]) -> Any:
    return compiled(function, error_model="numpy")


@_compiled
def _resample(picture, top, left, height, width, mirror, out):
    first_y, number_y, weight_y = _triangles(height, out.shape[1], False, np.float32(FINE / UNIT))
    first_x, number_x, weight_x = _triangles(width, out.shape[2], mirror, np.float32(1 / (FINE * UNIT)))
    n_taps = number_x.max()
    flat = picture.reshape(picture.shape[0], picture.shape[1] * 3)
    line = np.zeros(width * 3 + 3 * n_taps, np.float32)  # a source row, scaled downwards only
    for y in range(out.shape[1]):
        _blend_rows(flat, top + np.int64(first_y[y]), number_y[y], weight_y[y], left * 3, width * 3, line)
        _blend_columns(line, first_x, weight_x, n_taps, out[0, y], out[1, y], out[2, y])


@_compiled
def _triangles(size, count, mirror, unit):
    """For each of ``count`` result pixels: its first source pixel, their number, their weights: whole
    numbers times ``unit``, a power of two, so that all sums are exact in floats.

    In units of 1/(2 count) source pixels the centre of source pixel k lies at (2k + 1) count, that of result
    pixel i at (2i + 1) size, and the triangle reaches 2 max(size, count) to either side.
    """
    reach = 2 * max(size, count)
    first = np.empty(count, np.uint64)
    number = np.empty(count, np.int64)
    weights = np.zeros((count, reach // count + 2), np.float32)
    heights = np.empty(reach // count + 2, np.int64)
    for i in range(count):
        centre = (2 * i + 1) * size
        low = max(0, np.int64((centre - reach) / (2.0 * count)))  # floats divide faster, and here as exactly
        n, total, highest = 0, 0, 0
        for k in range(low, min(size, np.int64((centre + reach) / (2.0 * count)) + 1)):
            height = reach - abs((2 * k + 1) * count - centre)
            if height > 0:
                heights[n] = height
                total += height
                highest = n if height > heights[highest] else highest
                n += 1
            elif n == 0:
                low += 1
        place = count - 1 - i if mirror else i
        first[place], number[place] = low, n
        left = np.int64(UNIT)
        for k in range(n):
            weight = np.int64((2 * UNIT * heights[k] + total) / (2.0 * total))
            weights[place, k] = weight * unit
            left -= weight
        weights[place, highest] += left * unit  # what rounding left over
    return first, number, weights


@_compiled
def _blend_rows(flat, first, number, weights, left, length, line):
    """The weighted sum of ``number`` source rows in 16ths of a level, the first two in one pass."""
    second = first + min(1, number - 1)
    above, below = flat[first, left : left + length], flat[second, left : left + length]
    a, b = weights[0], weights[1]  # the second is zero if there is one row only
    half = np.float32(0.5)
    if number <= 2:
        for j in range(length):
            line[j] = np.int32(a * np.float32(above[j]) + b * np.float32(below[j]) + half)
        return
    for j in range(length):
        line[j] = a * np.float32(above[j]) + b * np.float32(below[j])
    for k in range(2, number - 1):
        below, b = flat[first + k, left : left + length], weights[k]
        for j in range(length):
            line[j] += b * np.float32(below[j])
    below, b = flat[first + number - 1, left : left + length], weights[number - 1]
    for j in range(length):
        line[j] = np.int32(line[j] + b * np.float32(below[j]) + half)


@_compiled
def _blend_columns(line, first, weights, n_taps, red, green, blue):
    """The weighted sums along a row, to bytes.

    Two and three taps are written out and indices are unsigned (no wrap-around to check): a third faster.
    """
    half, three = np.float32(0.5), np.uint64(3)
    for x in range(np.uint64(len(red))):
        i = three * first[x]
        j = i + three
        a, b = weights[x, 0], weights[x, 1]
        r = half + a * line[i] + b * line[j]
        g = half + a * line[i + np.uint64(1)] + b * line[j + np.uint64(1)]
        u = half + a * line[i + np.uint64(2)] + b * line[j + np.uint64(2)]
        for k in range(2, n_taps):
            j += three
            c = weights[x, k]
            r += c * line[j]
            g += c * line[j + np.uint64(1)]
            u += c * line[j + np.uint64(2)]
        red[x], green[x], blue[x] = np.uint8(np.int32(r)), np.uint8(np.int32(g)), np.uint8(np.int32(u))
