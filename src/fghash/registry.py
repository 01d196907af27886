"""What can be chosen by name: literals that name a class, imported only once chosen."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fghash.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A registered thing: ``target`` is ``module:Class``; nothing of it is imported before :func:`load`."""

    target: str
    summary: str
    paper: str = ""
    year: int | None = None
    certainty: str = ""

    def load(self) -> Any:
        """Import the class that ``target`` names."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class MethodInfo(Entry):
    """A hashing method; ``notes`` is what a reader of its numbers must know (a reconstruction, say)."""

    notes: str = ""


@dataclass(frozen=True)
class DatasetInfo(Entry):
    """A data set; ``needs_root`` if ``--data.root`` must name an existing folder."""

    needs_root: bool = True


E = TypeVar("E", bound=Entry)


def nearest(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for the closest known name, or nothing where none is close.

    >>> nearest("hasnet", ["dpq", "hashnet"])
    ", did you mean 'hashnet'?"
    """
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def look_up(registry: Mapping[str, E], name: str, argument: str) -> E:
    """The entry called ``name``.

    Raises:
        InputError: nothing is registered under that name; the message lists what is.
    """
    if name in registry:
        return registry[name]
    known = ", ".join(sorted(registry))
    raise InputError(f"{argument}: unknown name '{name}' (known: {known}){nearest(name, registry)}")
