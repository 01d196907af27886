"""Numbers as the user writes them: a flag's text or a file's value."""

from __future__ import annotations

import math
import re
from typing import Any

from fghash.errors import InputError


def whole(value: Any, label: str, least: int, most: int = 2**53) -> int:
    """A whole number from ``least`` to ``most``.

    >>> whole("32", "--bits", 1)
    32

    Raises:
        InputError: anything else.
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if re.fullmatch(r"\+?\d+", text, re.ASCII) and (len(text) > 18 or int(text) > most):
        raise InputError(f"{label}: expected a whole number from {least} to {most}, got {short(value)}")
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) or int(text) < least:
        raise InputError(f"{label}: expected a whole number of at least {least}, got {short(value)}")
    return int(text)


def real(value: Any, label: str, least: float, most: float) -> float:
    """A number from ``least`` to ``most``.

    >>> real("0.5", "--checkpoint_minutes", 0, 60)
    0.5

    Raises:
        InputError: anything else.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        raise InputError(f"{label}: expected a number from {least:g} to {most:g}, got {short(value)}")
    return number


def short(value: Any) -> str:
    """The value as Python writes it, a long one cut off."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def yes_or_no(value: Any, label: str) -> bool:
    """True or false.

    Raises:
        InputError: anything else.
    """
    if str(value).lower() not in ("true", "false"):
        raise InputError(f"{label}: expected true or false, got {value!r}")
    return str(value).lower() == "true"
