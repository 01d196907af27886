"""The leaderboard in a terminal."""

from __future__ import annotations

import re

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fghash.results.writers import cell, sections

_RIGHT = {"bits", "seeds", "map", "map_std", "map_real"}


def print_table(frame: pd.DataFrame, console: Console | None = None) -> None:
    """Print the short columns of ``frame``, a table for each protocol; an empty frame says so."""
    console = console or Console()
    for title, part in sections(frame):
        console.print(escape(title) if part.empty else _rich(_narrow(part), escape(title)))


def _narrow(part: pd.DataFrame) -> pd.DataFrame:
    """Of a comparison, what fits a terminal; its title has data and bits, ``differs`` only names facts."""
    if "differs" not in part:
        return part
    left = part.drop(columns=["data", "bits", "subset", "certainty", "notes"], errors="ignore")
    return left.assign(differs=[", ".join(re.findall(r"(\w+):", text)) for text in part["differs"]])


def _rich(frame: pd.DataFrame, title: str) -> Table:
    drawn = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in frame.columns:
        drawn.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for row in frame.astype(object).itertuples(index=False):
        drawn.add_row(*(escape(cell(value)) for value in row))
    return drawn
