"""A leaderboard as a file: CSV keeps every digit, Markdown and LaTeX are for reading."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from fghash.errors import InputError
from fghash.store.writing import write_text

SHORT = (
    "data", "method", "bits", "backbone", "gallery_codes", "seeds", "map", "map_std", "map_real", "variant",
    "subset", "source", "certainty", "differs", "notes",
)  # fmt: skip

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def write_table(frame: pd.DataFrame, out: Path) -> None:
    """Write ``frame`` to ``out``, atomically, in the format that its suffix names.

    Raises:
        InputError: the suffix is not ``.csv``, ``.md`` or ``.tex``, or the path cannot be written.
    """
    write_text(out, _writer(out)(frame))


def require_known_suffix(out: Path) -> None:
    """Fail before any work is done.

    Raises:
        InputError: the suffix is not ``.csv``, ``.md`` or ``.tex``.
    """
    _writer(out)


def to_csv(frame: pd.DataFrame) -> str:
    """Every column; reals in the shortest form that reads back as the same number, missing cells empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows([_exact(value) for value in row] for row in _rows(frame))
    return text.getvalue()


def to_markdown(frame: pd.DataFrame) -> str:
    """A table for each of :func:`sections`."""
    return "\n".join(f"{title}\n\n{_markdown(part)}" for title, part in sections(frame))


def to_latex(frame: pd.DataFrame) -> str:
    """A ``tabular`` (booktabs) for each of :func:`sections`."""
    return "\n".join(f"% {title}\n{_tabular(part)}" for title, part in sections(frame))


def sections(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The short tables to read one by one, with their titles.

    One for each protocol, because scores under different protocols are never read side by side; of a
    comparison with published rows, one for each of its blocks. An empty frame gives one empty table.
    """
    by, word = ("block", "") if "block" in frame else ("protocol", "protocol ")
    for value in frame[by].unique():
        yield f"{word}{value}", short(frame[frame[by] == value])
    if frame.empty:
        yield "no finished run", short(frame)


def short(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that a reader compares, without those that say nothing in any row."""
    kept = [name for name in SHORT if name in frame and not _is_blank(frame[name])]
    return frame[kept] if len(frame) else frame[[name for name in SHORT if name in frame]]


def cell(value: Any) -> str:
    """A value as a reader wants it: four decimals, nothing for nothing.

    >>> cell(0.41237), cell(float("nan")), cell(32)
    ('0.4124', '', '32')
    """
    if _is_missing(value):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _writer(out: Path) -> Callable[[pd.DataFrame], str]:
    writers = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
    if out.suffix not in writers and out.exists() and not out.is_file():
        return to_csv  # a pipe or a terminal
    if out.suffix not in writers:
        raise InputError(f"out: unknown suffix of '{out}' (allowed: {', '.join(writers)})")
    return writers[out.suffix]


def _markdown(frame: pd.DataFrame) -> str:
    lines = [list(frame.columns), ["---"] * len(frame.columns)]
    lines += [[cell(value).replace("|", r"\|") for value in row] for row in _rows(frame)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _tabular(frame: pd.DataFrame) -> str:
    lines = [[_tex(cell(value)) for value in row] for row in _rows(frame)]
    head = " & ".join(_tex(name) for name in frame.columns)
    body = "".join(f"{' & '.join(line)} \\\\\n" for line in lines)
    columns = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in frame.dtypes)
    rules = f"\\toprule\n{head} \\\\\n\\midrule\n{body}\\bottomrule\n"
    return f"\\begin{{tabular}}{{{columns}}}\n{rules}\\end{{tabular}}\n"


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = [frame[name].astype(object).tolist() for name in frame.columns]
    return list(zip(*columns, strict=True))


def _exact(value: Any) -> str:
    return "" if _is_missing(value) else repr(value) if isinstance(value, float) else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _is_blank(column: pd.Series) -> bool:
    return all(_is_missing(value) or value == "" for value in column)
