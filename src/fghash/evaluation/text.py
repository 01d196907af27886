"""Results as plain aligned text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A header of the keys and one line a row; numbers with 4 decimals, ``-`` for None.

    >>> print(format_table([{"name": "a", "map": 0.5}, {"name": "b", "map": None}]))
    name  map
    a     0.5000
    b     -
    """
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """The result of :func:`fghash.evaluation.compare` as a table, with a line on how to read it."""
    rows = [{"score": name, **values} for name, values in comparison.items() if isinstance(values, Mapping)]
    note = (
        f"{comparison['n_queries']} queries with a relevant item, protocol {comparison['protocol']};"
        " low, high: 95 % interval of b - a over queries; p_value: paired randomisation test, two-sided"
    )
    return f"{format_table(rows)}\n{note}"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
