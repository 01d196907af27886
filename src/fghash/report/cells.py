"""What a reader sees of one value, harmless wherever it is shown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fghash.display import harmless

_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes for the start of a formula


def cell(value: Any) -> str:
    """A value as a reader wants it: four decimals, nothing for nothing.

    >>> cell(0.41237), cell(float("nan")), cell(32), cell(True)
    ('0.4124', '', '32', 'yes')
    """
    if is_missing(value):
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return harmless({True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))


def no_formula(text: str) -> str:
    """:func:`harmless`, and with a leading apostrophe where a spreadsheet would compute.

    >>> no_formula("=1+1"), no_formula("a=1")
    ("'=1+1", 'a=1')
    """
    return f"'{harmless(text)}" if text.startswith(_FORMULA) else harmless(text)


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: ``None``, NaN or pandas' own."""
    return value is None or bool(pd.isna(value))
