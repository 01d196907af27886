"""The flags of the small commands: argparse, with errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fghash.errors import InputError
from fghash.registry import nearest
from fghash.settings.numbers import whole


class Options(argparse.ArgumentParser):
    """A parser without abbreviations, whose errors are InputErrors that name the nearest flag."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"fghash {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:  # type: ignore[override]
        """As argparse; the names are kept to tell the nearest one."""
        self.flags = (*getattr(self, "flags", ()), *names)
        return super().add_argument(*names, **settings)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """The values of ``argv``.

        Raises:
            InputError: an unknown flag, a missing one, or a value of the wrong type.
        """
        values, rest = self.parse_known_args(argv)
        if rest:
            word = rest[0].partition("=")[0]
            known = [flag for flag in self.flags if flag.startswith("--")]
            self.error(f"unknown option '{word}'{nearest(word, known)}")
        return values

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and exiting."""
        raise InputError(f"{self.prog.removeprefix('fghash ')}: {message}")


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers from ``least``."""

    def read(text: str) -> int:
        try:
            return whole(text, "number", least)
        except InputError as error:  # argparse puts the flag's name in place of ours, and loses other errors
            raise argparse.ArgumentTypeError(str(error).removeprefix("number: ")) from None

    return read


def add_cutoffs(options: Options) -> None:
    """``--cutoffs``, which every scoring command has."""
    options.add_argument(
        "--cutoffs", nargs="+", type=at_least(1), default=[1, 10, 100], metavar="K",
        help="the k of the scores @k (1 10 100)",
    )  # fmt: skip
