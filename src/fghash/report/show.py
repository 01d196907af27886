"""The leaderboard in a terminal: as many columns as fit, and a line about the others."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import count

import pandas as pd
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from fghash.report.cells import cell
from fghash.report.sections import Section, sections

_LONG = ("variant", "notes", "source")  # texts that stand below the table, under a number
_SAID_ONCE = ("seeds", "backbone", "data", "gallery_codes", "bits")  # above the table where all rows agree
_LEAST_IMPORTANT_FIRST = (
    "truncated_images", "queries_in_gallery", "certainty", "subset", "map_std", "map_high", "map_low", "rank",
    "seeds", "map_real", "selection", "trials", "preset", "source", "differs", "variant", "notes",
    "stopped_by_time", "batch_size", "image_passes", "epochs", "backbone", "gallery_codes", "data", "bits",
)  # fmt: skip


def print_table(frame: pd.DataFrame, console: Console | None = None) -> None:
    """Print the short columns of ``frame``, a table for each protocol; an empty frame says so.

    No cell is broken: where the terminal is too narrow, what all rows share is said above the table, and then
    the least important columns are left out, with a line that names them.
    """
    console = console or Console()
    for section in sections(frame):
        text = "\n".join(_lines(section, console.width))
        shown = text.encode(console.encoding, "backslashreplace").decode(console.encoding)
        console.out(shown, highlight=False)


def _lines(section: Section, width: int) -> Iterator[str]:
    if section.table.empty:
        yield section.title
        return
    fitting, left_out = _fitted(_narrow(section), width)
    texts, legend = _texts(fitting.table)
    yield from _paragraph(fitting.title, width)
    yield from _paragraph(fitting.sentence(), width)
    yield from ["", *_drawn(texts, fitting.table, width), ""]
    for text, number in legend.items():
        yield from _paragraph(f"{number}: {text}", width)
    if left_out:
        yield from _paragraph(
            f"left out at {width} columns: {', '.join(left_out)} (--out FILE.md has them)", width
        )


def _narrow(section: Section) -> Section:
    """Of a comparison, what fits a terminal; its title has data and bits, ``differs`` only names facts."""
    table = section.table
    if "differs" not in table:
        return section
    left = table.drop(columns=["data", "bits", "subset", "certainty", "notes"], errors="ignore")
    facts = [", ".join(re.findall(r"(\w+):", text)) for text in table["differs"]]
    return section._replace(table=left.assign(differs=facts))


def _fitted(section: Section, width: int) -> tuple[Section, list[str]]:
    """The section with the columns that fit ``width``, and the names of those that do not."""
    texts, _ = _texts(section.table)
    widths = dict(zip(texts.columns, _widths(texts), strict=True))
    shared, left_out = list(section.shared), []
    agreed = [name for name in _SAID_ONCE if name in texts and texts[name].nunique() == 1]
    for name in (*agreed, *_LEAST_IMPORTANT_FIRST):
        if name not in widths or sum(widths.values()) + len(widths) - 1 <= width:
            continue
        del widths[name]
        if name in agreed:
            shared.append(f"{name}={texts[name].iloc[0]}")
        else:
            left_out.append(name)
    return Section(section.title, shared, section.table[list(widths)]), left_out


def _widths(texts: pd.DataFrame) -> list[int]:
    return [max(cell_len(text) for text in [name, *texts[name]]) for name in texts.columns]


def _texts(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The cells as text, with numbers in place of long texts, and the number of each of these."""
    texts = table.astype(object).map(cell)
    numbers, legend = map(str, count(1)), dict[str, str]()
    for name in [name for name in _LONG if name in texts]:
        new = [text for text in dict.fromkeys(texts[name]) if text and text not in legend]
        legend |= dict(zip(new, numbers, strict=False))
        texts[name] = [legend.get(text, "") for text in texts[name]]
    return texts, legend


def _drawn(texts: pd.DataFrame, table: pd.DataFrame, width: int) -> Iterator[str]:
    """Header, rule and rows; a row that is still too wide is cut at the end, with dots that say so."""
    widths = _widths(texts)
    right = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    rule = ["-" * size for size in widths]
    for row in [list(texts.columns), rule, *texts.to_numpy().tolist()]:
        cells = [_aligned(*each) for each in zip(row, widths, right, strict=True)]
        line = " ".join(cells).rstrip()
        yield line if cell_len(line) <= width else set_cell_size(line, max(width - 3, 0)) + "..."


def _aligned(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _paragraph(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)
