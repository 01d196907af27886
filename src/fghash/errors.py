"""The error for invalid input: shown as one line, exit status 2, no traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input. The message names the argument, the value got and what is allowed, on one line."""
