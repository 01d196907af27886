"""Files of every kind become upright RGB, or an error with the path."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fghash.data.images.decoding import image_shape, read_image
from fghash.errors import InputError

RED = (200, 30, 40)


def scene() -> np.ndarray:
    """24 x 16: left half dark, right half light; a light row at the top tells up from down."""
    picture = np.full((16, 24), 40, np.uint8)
    picture[:, 12:] = 200
    picture[:2] = 250
    return picture


def near(picture: np.ndarray, expected, tolerance: int = 3) -> bool:
    return bool((abs(picture.astype(int) - np.asarray(expected)) <= tolerance).all())


def test_greyscale_is_repeated(tmp_path: Path):
    Image.fromarray(scene()).save(tmp_path / "grey.png")
    assert near(read_image(tmp_path / "grey.png"), scene()[..., None], 0)


def test_greyscale_jpeg(tmp_path: Path):
    Image.new("L", (24, 16), 130).save(tmp_path / "grey.jpg")
    assert near(read_image(tmp_path / "grey.jpg"), np.full((16, 24, 3), 130))


def test_one_bit(tmp_path: Path):
    Image.fromarray(scene() > 100).save(tmp_path / "bits.png")
    assert near(read_image(tmp_path / "bits.png"), (scene() > 100)[..., None] * 255, 0)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str):
    deep = scene().astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / f"deep.{suffix}")
    assert near(read_image(tmp_path / f"deep.{suffix}"), scene()[..., None], 0)


@pytest.mark.parametrize("quality", [95])
def test_cmyk(tmp_path: Path, quality: int):
    Image.new("RGB", (24, 16), RED).convert("CMYK").save(tmp_path / "print.jpg", quality=quality)
    assert near(read_image(tmp_path / "print.jpg"), RED, 4)


def test_palette(tmp_path: Path):
    Image.new("RGB", (24, 16), RED).quantize(4).save(tmp_path / "palette.png")
    assert near(read_image(tmp_path / "palette.png"), RED)


def test_palette_with_a_transparent_colour_shows_white(tmp_path: Path):
    image = Image.new("P", (24, 16), 1)
    image.putpalette([*RED, 10, 20, 30])
    image.paste(0, (0, 0, 12, 16))
    image.save(tmp_path / "sprite.gif", transparency=1)
    picture = read_image(tmp_path / "sprite.gif")
    assert near(picture[:, :12], RED)
    assert near(picture[:, 12:], 255, 0)


def test_transparent_pixels_show_white(tmp_path: Path):
    image = Image.new("RGBA", (24, 16), (*RED, 255))
    image.paste((*RED, 0), (0, 0, 12, 16))
    image.paste((0, 0, 0, 128), (12, 0, 24, 8))
    image.save(tmp_path / "alpha.png")
    picture = read_image(tmp_path / "alpha.png")
    assert near(picture[:, :12], 255, 0)
    assert near(picture[:8, 12:], 127)
    assert near(picture[8:, 12:], RED)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_rotation_is_carried_out(tmp_path: Path, orientation: int, suffix: str):
    stored = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}[orientation]
    pixels = np.repeat(scene()[..., None], 3, 2)
    turned = np.rot90(pixels, stored)
    if orientation in (2, 4, 5, 7):
        turned = turned[:, ::-1] if orientation in (2, 4) else turned[::-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / f"turned.{suffix}", exif=exif, quality=95)
    picture = read_image(tmp_path / f"turned.{suffix}")
    assert picture.shape == pixels.shape
    assert abs(picture.astype(int) - pixels).mean() < 4


def test_result_is_bytes_of_three_channels(image, tmp_path: Path):
    picture = read_image(image(tmp_path / "plain.jpg"))
    assert (picture.dtype, picture.shape) == (np.uint8, (30, 40, 3))


def test_truncated_file_is_named(image, tmp_path: Path):
    path = image(tmp_path / "cut.jpg", size=(200, 200))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"cannot read image .*cut\.jpg: .*truncated") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"this is text\n", b"\xff\xd8\xff\xe0garbage"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read image .*text\.jpg"):
        read_image(path)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")


def test_an_image_beyond_the_pixel_limit_is_refused(tmp_path):
    """Two hundred million pixels in a file of a few kilobytes."""
    path = tmp_path / "bomb.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.new("1", (20_000, 10_000)).save(path)
        with pytest.raises(InputError, match=r"bomb.png: .*exceeds limit of 178956970 pixels"):
            read_image(path)
        with pytest.raises(InputError, match=r"bomb.png"):
            image_shape(path)
