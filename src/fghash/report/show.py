"""The leaderboard in a terminal."""

from __future__ import annotations

import re
from itertools import count

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fghash.report.writers import cell, sections

_RIGHT = {"bits", "seeds", "map", "map_std", "map_real"}
_LONG = ("variant", "notes", "source")


def print_table(frame: pd.DataFrame, console: Console | None = None) -> None:
    """Print the short columns of ``frame``, a table for each protocol; an empty frame says so.

    Long texts stand below the table, under a number: columns of scores stay readable at 80 characters.
    """
    console = console or Console()
    for title, part in sections(frame):
        if part.empty:
            console.print(escape(title))
            continue
        narrow, legend = _numbered(_narrow(part))
        console.print(_drawn(narrow, escape(title)))
        for number, text in legend.items():
            console.print(escape(f"{number}: {text}"))


def _narrow(part: pd.DataFrame) -> pd.DataFrame:
    """Of a comparison, what fits a terminal; its title has data and bits, ``differs`` only names facts."""
    if "differs" not in part:
        return part
    left = part.drop(columns=["data", "bits", "subset", "certainty", "notes"], errors="ignore")
    return left.assign(differs=[", ".join(re.findall(r"(\w+):", text)) for text in part["differs"]])


def _numbered(part: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with numbers in place of long texts, and the text of each number."""
    numbers = map(str, count(1))
    marks: dict[str, str] = {}
    for name in _LONG:
        texts = [str(text) for text in part[name]] if name in part else []
        marks |= {text: next(numbers) for text in dict.fromkeys(texts) if text and text not in marks}
        part = part.assign(**{name: [marks.get(text, "") for text in texts]}) if texts else part
    return part, {number: text for text, number in marks.items()}


def _drawn(frame: pd.DataFrame, title: str) -> Table:
    drawn = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in frame.columns:
        drawn.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for row in frame.astype(object).itertuples(index=False):
        drawn.add_row(*(escape(cell(value)) for value in row))
    return drawn
