"""How methods refuse settings."""

from __future__ import annotations

from fghash.errors import InputError


def require(fine: bool, name: str, value: object, allowed: str) -> None:
    """Refuse a setting of a method.

    Raises:
        InputError: not ``fine``; the message names the setting, its value and what is allowed.
    """
    if not fine:
        raise InputError(f"method.{name}: got {value}, allowed are {allowed}")
