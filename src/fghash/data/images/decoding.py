"""An image file becomes RGB bytes: every colour mode and bit depth, upright, or an error with the path."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fghash.data.images.resample import scaled, scaled_shape
from fghash.display import harmless
from fghash.errors import InputError

# Formats that Pillow recognises and then leaves to somebody else's program.
_STUBS = frozenset({"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS", "PDF"})
_ORIENTATION = 0x0112
_SPARE = 2  # a JPEG may be decoded at 1/2, 1/4 or 1/8 while it stays this much larger than what is wanted
_PAPER = (255, 255, 255)
_TOLERANT = threading.Lock()
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def can_open(path: Path) -> bool:
    """Whether Pillow, with its installed plug-ins, opens this file: by its suffix, else by its content."""
    kind = suffixes().get(path.suffix.lower())
    if kind is not None:
        return kind not in _STUBS
    try:
        with Image.open(path) as image:
            return image.format not in _STUBS
    except Exception:  # whatever a reader makes of a file that is something else
        return False


@cache
def suffixes() -> dict[str, str]:
    """The formats that Pillow can open, by suffix; HEIC where the package pillow_heif is installed."""
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def read_image(
    path: Path | BinaryIO, short_side: int | None = None, tolerate_truncated: bool = False
) -> NDArray[np.uint8]:
    """Decode a file (its path, or open) to (height, width, 3) RGB, scaled to a ``short_side`` in pixels.

    Greyscale is repeated, 16-bit is scaled to 8 (65535 becomes 255), CMYK and palettes are converted, what is
    transparent shows white, and a rotation noted in EXIF is carried out. Of an animation, the first frame.

    ``tolerate_truncated``: of a file that ends too early, what there is.

    Raises:
        InputError: the file is missing, truncated or no image; the message has its path.
    """
    try:
        return _decoded(path, short_side)
    except InputError as error:
        if not tolerate_truncated or "truncated" not in str(error):
            raise
    with _TOLERANT:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            return _decoded(path, short_side)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def _decoded(path: Path | BinaryIO, short_side: int | None) -> NDArray[np.uint8]:
    with _named(path), Image.open(path) as image:
        shape = _upright_shape(image)
        if short_side is None:
            return np.asarray(to_rgb(upright(image)))
        image.draft(None, (_SPARE * short_side, _SPARE * short_side))
        return scaled(np.asarray(to_rgb(upright(image))), scaled_shape(*shape, short_side))


def image_shape(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header.

    Raises:
        InputError: the file is missing or no image.
    """
    with _named(path), Image.open(path) as image:
        return _upright_shape(image)


@contextlib.contextmanager
def _named(path: Path | BinaryIO) -> Iterator[None]:
    """Pillow's many errors become one, with the path or the open file's name."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        name = path if isinstance(path, Path) else getattr(path, "name", "in memory")
        raise InputError(f"cannot read image {harmless(str(name))}: {_reason(error)}") from error


def _upright_shape(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if orientation(image) > 4 else (height, width)


def upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF orientation says; a damaged tag counts as none."""
    image.load()  # Pillow turns a TIFF by itself when it loads it
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that makes sense."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata never hides a readable image
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def has_damaged_orientation(path: Path) -> bool:
    """Whether the file has an EXIF orientation that makes no sense and is therefore ignored."""
    try:
        with Image.open(path) as image:
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # reading the file says what is wrong with it
        return False
    return not isinstance(value, int) or value not in range(1, 9)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow to RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_paper(image.convert("RGBA"))
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits; ``convert`` would clip at 255 and give a white image."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 65535
    return Image.fromarray(np.clip(np.rint(values / 257), 0, 255).astype(np.uint8))


def _on_paper(image: Image.Image) -> Image.Image:
    paper = Image.new("RGB", image.size, _PAPER)
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return " ".join(str(error).split()) or type(error).__name__
