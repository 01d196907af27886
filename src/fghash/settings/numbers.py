"""Numbers as the user writes them: a flag's text or a file's value."""

from __future__ import annotations

import re
from typing import Any

from fghash.errors import InputError


def whole(value: Any, label: str, least: int) -> int:
    """A whole number of at least ``least``.

    >>> whole("32", "--bits", 1)
    32

    Raises:
        InputError: anything else.
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) or int(text) < least:
        raise InputError(f"{label}: expected a whole number of at least {least}, got {value!r}")
    return int(text)


def yes_or_no(value: Any, label: str) -> bool:
    """True or false.

    Raises:
        InputError: anything else.
    """
    if str(value).lower() not in ("true", "false"):
        raise InputError(f"{label}: expected true or false, got {value!r}")
    return str(value).lower() == "true"
