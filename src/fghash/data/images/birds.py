"""Little birds, drawn by arithmetic alone: signed distances, antialiased, the same bytes on every machine.

Only additions, products, quotients and square roots are used, in single precision and without sums whose
order a library may choose, so every platform rounds alike. A bird lives in a plane of its own: x to its
beak, y down, the body's centre at the origin and the body about one unit long to either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # single precision throughout

# The parts that tell classes apart, and the point of each that tests look at.
PARTS: Mapping[str, tuple[float, float]] = {
    "crown": (0.80, -0.93),
    "beak": (1.36, -0.58),
    "eye_ring": (0.98, -0.66),
    "breast": (0.72, 0.22),
    "wing_bar": (-0.16, -0.10),
    "tail_band": (-1.62, 0.26),
}


@dataclass(frozen=True)
class Birds:
    """What n birds look like, the nuisance included; every field has n rows.

    ``body`` (n, 3, 3): colours of back, belly and wing. ``parts`` (n, 6, 3): colours in the order of
    ``PARTS``. ``shape`` (n, 4): plumpness, head, tail and leg relative to the ordinary bird. ``turn``,
    ``scale``, ``shift``: half the rotation's tangent, pixels a unit as a part of the image's side, centre
    as parts of it. ``mirror``: beak to the left. ``light`` (n, 3): gain of each channel; ``shade`` (n, 2):
    gradient of the light across the image. ``scenery`` (n, 3, 5, 5): colours of the background, coarse.
    ``blobs`` (n, k, 7): background spots as x, y, radius, colour and none; ``leaves`` (n, k, 8): what hides
    the bird, as x, y, length, half tangent, colour, width.
    """

    body: Array
    parts: Array
    shape: Array
    turn: Array
    scale: Array
    shift: Array
    mirror: Array
    light: Array
    shade: Array
    scenery: Array
    blobs: Array
    leaves: Array

    def __len__(self) -> int:
        return len(self.turn)

    def rows(self, part: slice) -> Birds:
        """Some of the birds."""
        return Birds(**{name: value[part] for name, value in vars(self).items()})


def draw(birds: Birds, side: int, chunk: int = 16) -> NDArray[np.uint8]:
    """Images of the birds, (n, side, side, 3)."""
    pictures = np.empty((len(birds), side, side, 3), np.uint8)
    for start in range(0, len(birds), chunk):
        rows = slice(start, start + chunk)
        pictures[rows] = _Easel(birds.rows(rows), side).paint()
    return pictures


def part_centres(birds: Birds, side: int) -> Array:
    """Where each part is in the image: (n, parts, 2) as x and y in pixels."""
    points = np.array(list(PARTS.values()), np.float32)[None] * np.ones((len(birds), 1, 1), np.float32)
    plump, head, tail = (birds.shape[:, None, k] for k in range(3))
    x, y = points[..., 0].copy(), points[..., 1].copy()
    x[:, :3], y[:, :3] = _HEAD[0] + (x[:, :3] - _HEAD[0]) * head, _HEAD[1] + (y[:, :3] - _HEAD[1]) * head
    y[:, 3:5] = y[:, 3:5] * plump
    x[:, 5:] = -0.8 + (x[:, 5:] + 0.8) * tail
    x = x * birds.mirror[:, None]
    cosine, sine = (value[:, None] for value in _rotation(birds.turn))
    pixels = np.stack([x * cosine - y * sine, x * sine + y * cosine], -1) * birds.scale[:, None, None]
    centres: Array = (pixels + birds.shift[:, None]) * np.float32(side)
    return centres


_HEAD = (0.86, -0.62)


def _rotation(half_tangent: Array) -> tuple[Array, Array]:
    """Cosine and sine without trigonometry, which platforms round differently."""
    squared = half_tangent * half_tangent
    return (1 - squared) / (1 + squared), 2 * half_tangent / (1 + squared)


class _Easel:
    """A canvas (n, 3, side, side) and the pixels' coordinates, in the image and in the birds' plane."""

    def __init__(self, birds: Birds, side: int) -> None:
        self.birds, self.side = birds, side
        place = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
        self.across, self.down = np.broadcast_arrays(place[None, None, :], place[None, :, None])
        self.canvas = _enlarge(birds.scenery, side)
        dx, dy = self.across - _column(birds.shift[:, 0]), self.down - _column(birds.shift[:, 1])
        cosine, sine = (_column(value) for value in _rotation(birds.turn))
        scale = _column(birds.scale)
        self.x = (dx * cosine + dy * sine) / scale * _column(birds.mirror)
        self.y = (dy * cosine - dx * sine) / scale
        self.pixels_per_unit = scale * np.float32(side)

    def paint(self) -> NDArray[np.uint8]:
        for blob in np.moveaxis(self.birds.blobs, 1, 0):
            distance = _disc(
                self.across, self.down, _column(blob[:, 0]), _column(blob[:, 1]), _column(blob[:, 2])
            )
            self._fill(distance * np.float32(self.side), blob[:, 3:6])
        self._bird()
        for leaf in np.moveaxis(self.birds.leaves, 1, 0):
            self._fill(self._leaf(leaf) * np.float32(self.side), leaf[:, 4:7])
        return self._exposed()

    def _fill(self, distance: Array, colour: Array) -> None:
        """Paint where the distance, in pixels, is negative; the edge is one pixel soft."""
        cover = np.clip(np.float32(0.5) - distance, 0, 1)
        for channel in range(3):
            layer = self.canvas[:, channel]
            layer += cover * (_column(colour[:, channel]) - layer)

    def _part(self, distance: Array, colour: Array) -> None:
        self._fill(distance * self.pixels_per_unit, colour)

    def _bird(self) -> None:
        plump, head, tail, leg = (_column(self.birds.shape[:, k]) for k in range(4))
        back, belly, wing = (self.birds.body[:, k] for k in range(3))
        part = {name: self.birds.parts[:, k] for k, name in enumerate(PARTS)}
        x, y = self.x, self.y
        self._legs(leg, plump)
        self._tail((x + np.float32(0.8)) / tail - np.float32(0.8), back, part["tail_band"])
        body = _ellipse(x, y / plump, 0, 0, 1.0, 0.62, 0.12)
        self._part(body, back)
        self._part(np.maximum(body, _ellipse(x, y / plump, 0.15, 0.42, 0.95, 0.45, 0.05)), belly)
        self._breast(x, y / plump, part["breast"])
        self._wing(x, y / plump, wing, part["wing_bar"])
        self._head((x - _HEAD[0]) / head + _HEAD[0], (y - _HEAD[1]) / head + _HEAD[1], back, part)

    def _legs(self, leg: Array, plump: Array) -> None:
        dark = np.full((len(self.birds), 3), 60, np.float32)
        for foot in (-0.05, 0.25):
            beside = np.abs(self.x - np.float32(foot)) - np.float32(0.045)
            below = np.abs(self.y - np.float32(0.6) * plump - leg * np.float32(0.25)) - leg * np.float32(0.3)
            self._part(np.maximum(beside, below), dark)

    def _tail(self, x: Array, back: Array, band: Array) -> None:
        """A tapering bar behind the body; its band near the end."""
        lean = self.y - (x + np.float32(0.8)) * np.float32(-0.32)
        bar = np.maximum(np.abs(lean) - np.float32(0.17), np.abs(x + np.float32(1.3)) - np.float32(0.62))
        self._part(bar, back * np.float32(0.8))
        self._part(np.maximum(bar, np.abs(x + np.float32(1.62)) - np.float32(0.16)), band)

    def _breast(self, x: Array, y: Array, colour: Array) -> None:
        """A patch of three spots that touch."""
        spots = [_disc(x, y, cx, cy, 0.15) for cx, cy in ((0.72, 0.22), (0.84, 0.02), (0.54, 0.36))]
        self._part(np.minimum(np.minimum(spots[0], spots[1]), spots[2]), colour)

    def _wing(self, x: Array, y: Array, colour: Array, bar: Array) -> None:
        wing = _ellipse(x, y, -0.28, -0.06, 0.68, 0.34, -0.12)
        self._part(wing, colour)
        stripe = np.abs(x + np.float32(0.16) + (y + np.float32(0.1)) * np.float32(0.35)) - np.float32(0.11)
        self._part(np.maximum(wing, stripe), bar)

    def _head(self, x: Array, y: Array, back: Array, part: Mapping[str, Array]) -> None:
        beak = np.maximum(
            np.abs(y + np.float32(0.58)) - (np.float32(1.66) - x) * np.float32(0.36), np.float32(1.14) - x
        )
        self._part(beak, part["beak"])
        head = _disc(x, y, *_HEAD, 0.42)
        self._part(head, back)
        self._part(np.maximum(head, y + np.float32(0.8) + (x - _HEAD[0]) * np.float32(0.1)), part["crown"])
        self._part(_disc(x, y, 0.98, -0.58, 0.17), part["eye_ring"])
        self._part(_disc(x, y, 1.0, -0.56, 0.07), np.full_like(back, 15))

    def _leaf(self, leaf: Array) -> Array:
        cosine, sine = (_column(value) for value in _rotation(leaf[:, 3]))
        dx, dy = self.across - _column(leaf[:, 0]), self.down - _column(leaf[:, 1])
        along, beside = dx * cosine + dy * sine, dy * cosine - dx * sine
        return _ellipse(along, beside, 0, 0, _column(leaf[:, 2]), _column(leaf[:, 7]), 0)

    def _exposed(self) -> NDArray[np.uint8]:
        """The canvas in its light, as bytes."""
        slope_x, slope_y = (_column(self.birds.shade[:, k]) for k in range(2))
        gradient = 1 + (self.across - np.float32(0.5)) * slope_x + (self.down - np.float32(0.5)) * slope_y
        lit = self.canvas * self.birds.light[:, :, None, None] * gradient[:, None]
        pictures: NDArray[np.uint8] = np.clip(np.rint(lit), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        return pictures


def _column(values: Array) -> Array:
    return values[:, None, None]


def _disc(x: Array, y: Array, cx: Array | float, cy: Array | float, radius: Array | float) -> Array:
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    distance: Array = np.sqrt(dx * dx + dy * dy) - np.float32(radius)
    return distance


def _ellipse(
    x: Array, y: Array, cx: float, cy: float, rx: Array | float, ry: Array | float, half_tangent: float
) -> Array:
    """Distance to first order: the value of the equation over the length of its gradient."""
    squared = half_tangent * half_tangent
    cosine, sine = np.float32((1 - squared) / (1 + squared)), np.float32(2 * half_tangent / (1 + squared))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    along = (dx * cosine + dy * sine) / np.float32(rx)
    beside = (dy * cosine - dx * sine) / np.float32(ry)
    radius = np.sqrt(along * along + beside * beside)
    slope = np.sqrt(along / rx * (along / rx) + beside / ry * (beside / ry)) + np.float32(1e-6)
    distance: Array = (radius - 1) * radius / slope
    return distance


def _enlarge(coarse: Array, side: int) -> Array:
    """Bilinear interpolation of (n, 3, k, k) to (n, 3, side, side)."""
    for axis in (2, 3):
        steps = coarse.shape[axis] - 1
        place = np.arange(side, dtype=np.float32) * np.float32(steps) / np.float32(side)
        low = place.astype(np.int64)
        shape = [1, 1, 1, 1]
        shape[axis] = side
        weight = (place - low.astype(np.float32)).reshape(shape)
        below, above = coarse.take(low, axis), coarse.take(low + 1, axis)
        coarse = below + (above - below) * weight
    return coarse
