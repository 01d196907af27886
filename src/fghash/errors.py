"""The error for invalid input: shown as one line, exit status 2, no traceback. And the end by a signal."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input. The message names the argument, the value got and what is allowed, on one line."""


class Stopped(BaseException):
    """A signal ended a training; no error, hence no :class:`Exception`.

    Args:
        number: of the signal; the exit status is 128 more, as of any process that a signal ends.
        kept: what was saved of the training, in words; empty where nothing new was.
    """

    def __init__(self, number: int, kept: str = "") -> None:
        super().__init__(number, kept)
        self.number, self.kept = number, kept
