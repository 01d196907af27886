"""An image file becomes RGB bytes: every colour mode and bit depth, upright, or an error with the path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fghash.data.images.resample import scaled, scaled_shape
from fghash.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})

_ORIENTATION = 0x0112
_SPARE = 2  # a JPEG may be decoded at 1/2, 1/4 or 1/8 while it stays this much larger than what is wanted
_PAPER = (255, 255, 255)


def read_image(path: Path, short_side: int | None = None) -> NDArray[np.uint8]:
    """Decode a file to (height, width, 3) RGB, scaled to a ``short_side`` in pixels if that is given.

    Greyscale is repeated, 16-bit is scaled to 8 (65535 becomes 255), CMYK and palettes are converted, what is
    transparent shows white, and a rotation noted in EXIF is carried out. Of an animation, the first frame.

    Raises:
        InputError: the file is missing, truncated or no image; the message has its path.
    """
    with _named(path), Image.open(path) as image:
        shape = _upright_shape(image)
        if short_side is None:
            return np.asarray(to_rgb(upright(image)))
        image.draft(None, (_SPARE * short_side, _SPARE * short_side))
        return scaled(np.asarray(to_rgb(upright(image))), scaled_shape(*shape, short_side))


def image_shape(path: Path) -> tuple[int, int]:
    """Height and width of the upright picture, from the file's header.

    Raises:
        InputError: the file is missing or no image.
    """
    with _named(path), Image.open(path) as image:
        return _upright_shape(image)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Pillow's many errors become one, with the path."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read image {path}: {_reason(error)}") from error


def _upright_shape(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if image.getexif().get(_ORIENTATION, 1) > 4 else (height, width)


def upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says."""
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


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
    """16-bit grey to 8 bits; ``convert`` would clip at 255 and give a white picture."""
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
