"""A leaderboard as a file: CSV holds every column and digit, Markdown and LaTeX are for reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from fghash.display import harmless
from fghash.errors import InputError
from fghash.report.cells import cell, no_formula
from fghash.report.sections import BUDGET, Section, sections
from fghash.store.writing import write_text

_BEST = ("map", "map_real")  # columns whose best value is bold
_COMPARABLE = ("data", "bits", "gallery_codes", *BUDGET)  # among rows that agree in these


def write_table(frame: pd.DataFrame, out: Path, lacking: Sequence[str] = ()) -> None:
    """Write ``frame`` to ``out``, atomically, in the format that its suffix names.

    ``lacking``: a line about each row that should be there and is not; below the table where people read it.

    Raises:
        InputError: the suffix is not ``.csv``, ``.md`` or ``.tex``, or the path cannot be written.
    """
    text = _writer(out)(frame)
    if lacking and out.suffix == ".md":
        text += "\nNot in the table:\n\n" + "".join(
            f"- {_escape_markdown(harmless(line))}\n" for line in lacking
        )
    if lacking and out.suffix == ".tex":
        text += "".join(f"% not in the table: {harmless(line)}\n" for line in lacking)
    write_text(out, text)


def require_known_suffix(out: Path) -> None:
    """Fail before any work is done.

    Raises:
        InputError: the suffix is not ``.csv``, ``.md`` or ``.tex``.
    """
    _writer(out)


def to_csv(frame: pd.DataFrame) -> str:
    """Every column; reals in the shortest form that reads back as the same number, missing cells empty.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    texts = {
        name: [no_formula(value) if isinstance(value, str) else value for value in frame[name]]
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name].dtype)
    }
    return str(frame.assign(**texts).to_csv(index=False, lineterminator="\n"))


def to_markdown(frame: pd.DataFrame) -> str:
    """A table for each of :func:`fghash.report.sections.sections`."""
    return "\n".join(_markdown(section) for section in sections(frame))


def to_latex(frame: pd.DataFrame) -> str:
    """A ``tabular`` (booktabs) for each of the sections.

    Of comparable rows the best score is bold, the second underlined.
    """
    return "\n".join(_tabular(section) for section in sections(frame))


def _writer(out: Path) -> Callable[[pd.DataFrame], str]:
    writers = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
    if out.suffix not in writers and out.exists() and not out.is_file():
        return to_csv  # a pipe or a terminal
    if out.suffix not in writers:
        raise InputError(f"out: unknown suffix of '{out}' (allowed: {', '.join(writers)})")
    return writers[out.suffix]


def _markdown(section: Section) -> str:
    texts = section.table.astype(object).map(cell).map(_escape_markdown)
    lines = [list(texts.columns), ["---"] * len(texts.columns), *texts.to_numpy().tolist()]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    paragraphs = [_escape_markdown(text) for text in (section.title, section.sentence()) if text]
    return "\n\n".join([*paragraphs, table])


def _escape_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def _tabular(section: Section) -> str:
    table = section.table
    columns = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in table.dtypes)
    styled = table.astype(object).map(cell).style.format(escape="latex").format_index(escape="latex", axis=1)
    marks = _places(table).map({0: "", 1: "textbf: --rwrap;", 2: "underline: --rwrap;"}.__getitem__)
    tabular = styled.apply(lambda _: marks, axis=None).hide(axis="index")
    body = str(tabular.to_latex(column_format=columns, hrules=True))
    title = section.title.replace("\\", "/")
    return f"% {title}\n{_shared_line(section)}{body}"


def _shared_line(section: Section) -> str:
    """The sentence above the table, escaped as its cells are."""
    if not section.shared:
        return ""
    line = pd.DataFrame({"text": [section.sentence()]}).style.format(escape="latex").hide(axis="index")
    text = line.hide(axis="columns").to_latex().splitlines()[1].removesuffix("\\\\").strip()
    return f"\\noindent{{\\small {text}}}\\par\n"


def _places(table: pd.DataFrame) -> pd.DataFrame:
    """1 in the cells of the best score of two or more comparable rows, 2 of the second best, else 0."""
    places = pd.DataFrame(0, index=table.index, columns=table.columns)
    keys = [table[name].map(cell) for name in _COMPARABLE if name in table]
    for name in [name for name in _BEST if name in table and keys]:
        groups = table[name].groupby(keys)
        place = groups.rank(method="dense", ascending=False)
        places[name] = place.where((groups.transform("count") > 1) & (place <= 2), 0).fillna(0).astype(int)
    return places
