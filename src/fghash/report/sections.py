"""The short tables to read one by one, and what all rows of one have in common, said once above it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from fghash.display import harmless
from fghash.report.cells import cell, is_missing
from fghash.settings.variants import settings_of

SHORT = (
    "data", "method", "bits", "backbone", "gallery_codes", "seeds", "rank", "map", "map_std", "map_low",
    "map_high", "map_real", "preset", "trials", "epochs", "image_passes", "batch_size", "stopped_by_time",
    "selection", "variant", "queries_in_gallery", "truncated_images", "subset", "source", "certainty",
    "differs", "notes",
)  # fmt: skip
BUDGET = ("epochs", "image_passes", "batch_size", "stopped_by_time")

_SHARED = ("preset", "trials", *BUDGET, "selection")  # columns that say nothing where all rows agree
_IF_ANY = (
    "trials",
    "stopped_by_time",
    "queries_in_gallery",
    "truncated_images",
)  # nothing to say where all are zero
_OURS = "this store"


class Section(NamedTuple):
    """A table: its title, what all its rows share (``key=value``), and its other columns."""

    title: str
    shared: list[str]
    table: pd.DataFrame

    def sentence(self) -> str:
        """What all rows share, in a line; empty if nothing."""
        rows = "all rows of this store" if "source" in self.table else "all rows"
        rows = "this row" if len(self.table) == 1 else rows
        return f"{rows}: {' '.join(self.shared)}" if self.shared else ""


def sections(frame: pd.DataFrame) -> Iterator[Section]:
    """One section for each protocol, because scores under different protocols are never read side by side; of
    a comparison with published rows, one for each of its blocks. An empty frame gives one empty table.
    """
    by, kind = ("block", "") if "block" in frame else ("protocol", "protocol ")
    for value in frame[by].unique():
        yield _section(f"{kind}{value}", frame[frame[by] == value])
    if frame.empty:
        yield Section("no finished run", [], frame[[name for name in SHORT if name in frame]])


def is_blank(column: pd.Series) -> bool:
    """Whether no row says anything."""
    return all(is_missing(value) or value == "" for value in column)


def _section(title: str, part: pd.DataFrame) -> Section:
    table = part[[name for name in SHORT if name in part]].reset_index(drop=True)
    ours = table["source"] == _OURS if "source" in table else pd.Series(True, index=table.index)
    table = table.drop(columns=[name for name in _IF_ANY if name in table and not _any(table[name])])
    agreed = [name for name in _SHARED if name in table and table[name][ours].map(cell).nunique() == 1]
    shared = [f"{name}={cell(table[name][ours].iloc[0])}" for name in agreed if not is_blank(table[name])]
    table = table.drop(columns=agreed)
    if "variant" in table:
        table, settings = _without_shared_settings(table, ours)
        shared += settings
    table = table.drop(columns=[name for name in table if is_blank(table[name])])
    return Section(harmless(title), [harmless(setting) for setting in shared], table)


def _without_shared_settings(table: pd.DataFrame, ours: pd.Series) -> tuple[pd.DataFrame, list[str]]:
    """Take the settings that every row of ours lists out of the column ``variant``."""
    listed = [settings_of(text) for text in table["variant"][ours]]
    shared = [setting for setting in listed[0] if all(setting in each for each in listed)] if listed else []
    rest = [" ".join(each for each in settings if each not in shared) for settings in listed]
    table = table.astype({"variant": object})
    table.loc[ours, "variant"] = rest
    return table, shared


def _any(column: pd.Series) -> bool:
    values: list[Any] = column.astype(object).tolist()
    return any(not is_missing(value) and value not in (0, "") for value in values)
