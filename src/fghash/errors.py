"""The one kind of error that is the user's to mend: shown as one line, exit status 2, no traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input. The message names the argument, the value got and what is allowed, on one line."""
