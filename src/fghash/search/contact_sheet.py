"""What was found, to look at: a page or an image with each query and its items in order of distance."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fghash.display import harmless
from fghash.errors import InputError
from fghash.files import replacing
from fghash.search.item_images import ReadImage
from fghash.search.searching import Hit, Results

SUFFIXES = (".html", ".png")
_SIDE, _GAP, _CAPTION, _LEFT = 112, 10, 32, 28  # pixels
_RIGHT, _WRONG, _UNKNOWN, _QUERY = "#1a7f37", "#cf222e", "#8c959f", "#0969da"
_MOST = 200  # queries on a sheet

Pixels = NDArray[np.uint8] | None


@dataclass(frozen=True)
class Tile:
    """An image with its captions and the colour of its frame; dashed where colour alone would tell."""

    pixels: Pixels
    lines: tuple[str, str]
    colour: str
    dashed: bool = False


def sheet_rows(results: Results, queries: Sequence[Pixels], read: ReadImage) -> list[list[Tile]]:
    """A row for each query: the query, then its items.

    Args:
        results: of a search.
        queries: image of each query, ``None`` where there is none.
        read: gives an item's image by id.
    """
    rows = []
    for i, hits in enumerate(results.hits):
        wanted = results.queries.classes[i]
        query = Tile(queries[i], (f"query {Path(results.queries.ids[i]).name}", wanted or "-"), _QUERY)
        rows.append([query, *(_hit(hit, wanted, read) for hit in hits)])
    return rows


def _hit(hit: Hit, wanted: str, read: ReadImage) -> Tile:
    known = bool(wanted and hit.class_name)
    right = wanted in hit.class_name.split(", ")
    colour = _UNKNOWN if not known else _RIGHT if right else _WRONG
    lines = (f"{shown_distance(hit.distance)}  {Path(hit.id).name}", hit.class_name or "-")
    return Tile(read(hit.id), lines, colour, known and not right)


def shown_distance(distance: float) -> str:
    """A whole distance without a point, another one with four places."""
    return str(int(distance)) if float(distance).is_integer() else f"{distance:.4f}"


def write_sheet(path: Path, rows: Sequence[Sequence[Tile]], title: str) -> None:
    """Write the sheet as a page or as an image, by the suffix.

    Raises:
        InputError: another suffix, more rows than a sheet has, or a file that cannot be written.
    """
    require_sheet(path)
    if len(rows) > _MOST:
        raise InputError(f"--show: {len(rows)} queries, expected up to {_MOST} on a sheet")
    with replacing(path, "--show") as temporary:
        if path.suffix == ".html":
            temporary.write_text(_page(rows, title), encoding="utf-8")
        else:
            draw_sheet(rows, title).save(temporary)


def require_sheet(path: Path) -> None:
    """Refuse before any work what cannot be written."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"--show: '{path}', expected a name that ends in .html or .png")
    if not path.resolve().parent.is_dir():
        raise InputError(f"--show: there is no folder '{path.parent}' to write '{path.name}' in")


def _thumbnail(pixels: Pixels) -> Image.Image:
    if pixels is None:
        image = Image.new("RGB", (_SIDE, _SIDE), "#eaeef2")
        ImageDraw.Draw(image).text((8, _SIDE // 2 - 6), "image is gone", fill="#57606a")
        return image
    return ImageOps.fit(Image.fromarray(pixels), (_SIDE, _SIDE))


def draw_sheet(rows: Sequence[Sequence[Tile]], title: str) -> Image.Image:
    """The sheet as an image."""
    across = max(len(row) for row in rows)
    width = _GAP + across * (_SIDE + _GAP)
    height = _LEFT + len(rows) * (_SIDE + _CAPTION + _GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    draw.text((_GAP, 7), _fitting(title, width - 2 * _GAP, font), fill="#24292f", font=font)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            x, y = _GAP + j * (_SIDE + _GAP), _LEFT + i * (_SIDE + _CAPTION + _GAP)
            sheet.paste(_thumbnail(tile.pixels), (x, y))
            _frame(draw, (x - 3, y - 3, x + _SIDE + 2, y + _SIDE + 2), tile)
            for line, text in enumerate(tile.lines):
                shown = _fitting(text, _SIDE, font)
                draw.text((x, y + _SIDE + 4 + 13 * line), shown, fill="#24292f", font=font)
    return sheet


def _frame(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], tile: Tile) -> None:
    left, top, right, bottom = box
    if not tile.dashed:
        draw.rectangle(box, outline=tile.colour, width=3)
        return
    for start in range(left, right, 12):
        for y in (top, bottom - 2):
            draw.rectangle((start, y, min(start + 7, right), y + 2), fill=tile.colour)
    for start in range(top, bottom, 12):
        for x in (left, right - 2):
            draw.rectangle((x, start, x + 2, min(start + 7, bottom)), fill=tile.colour)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its end left out where it is too long."""
    text = harmless(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


_LEGEND = """Blue: the query. Solid green: the query's class. Dashed red: another class. Grey: not known.
The number is the distance, smaller = closer."""
_STYLE = f"""
.fghash {{ display: flex; gap: .7rem; padding: .5rem 0 }}
.fghash figure {{ margin: 0; width: {_SIDE + 6}px; flex: none }}
.fghash img {{ width: {_SIDE}px; height: {_SIDE}px; object-fit: cover; display: block; border: 3px solid;
  box-sizing: content-box; max-width: none }}
.fghash img.dashed {{ border-style: dashed }}
.fghash figcaption {{ font-size: 12px; overflow-wrap: anywhere }}
"""


def _page(rows: Sequence[Sequence[Tile]], title: str) -> str:
    body = "".join(_row(row) for row in rows)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(harmless(title))}</title><style>
:root {{ color-scheme: light dark }} body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1rem }}
.fghash {{ overflow-x: auto; border-bottom: 1px solid #8884 }}{_STYLE}</style></head>
<body><h1 style="font-size:1.1rem">{html.escape(harmless(title))}</h1>
<p>{_LEGEND}</p>
{body}</body></html>
"""


def part_of_page(row: Sequence[Tile]) -> str:
    """A row as a part of somebody else's page, over as many lines as it takes."""
    return f"<style>{_STYLE}</style>{_row(row, 'flex-wrap: wrap')}"


def _row(row: Sequence[Tile], style: str = "") -> str:
    return f'<section class="fghash" style="{style}">{"".join(map(_figure, row))}</section>'


def _figure(tile: Tile) -> str:
    file = io.BytesIO()
    _thumbnail(tile.pixels).save(file, "JPEG", quality=80)
    url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    first, second = (html.escape(harmless(line)) for line in tile.lines)
    kind = ' class="dashed"' if tile.dashed else ""
    return (
        f'<figure><img{kind} style="border-color:{tile.colour}" src="{url}" alt="{first}, {second}">'
        f"<figcaption>{first}<br>{second}</figcaption></figure>"
    )
