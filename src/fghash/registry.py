"""What can be chosen by name: literals that name a class, imported only once chosen.

:data:`METHODS` and :data:`DATASETS` hold what the packages ``fghash.methods`` and ``fghash.data`` list as
``BUILT_IN``, and what other installed packages register under the entry-point group of the same name.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

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
    """A hashing method.

    ``notes`` is what a reader of its numbers must know (a reconstruction, say). ``presets`` names where a
    package of its own has the presets, as ``package`` or ``package:folder``: ``default.yaml``, ...
    ``nested``: one training gives several code lengths (:meth:`HashingMethod.code_lengths`).
    ``closed_form``: fitted to frozen features at once, without an optimiser (:meth:`fit_closed_form`).
    """

    notes: str = ""
    presets: str = ""
    nested: bool = False
    closed_form: bool = False


@dataclass(frozen=True)
class DatasetInfo(Entry):
    """A data set; ``needs_root`` if ``--data.root`` must name an existing folder (``is_file``: a file)."""

    needs_root: bool = True
    is_file: bool = False

    @property
    def needed(self) -> str:
        """What ``--data.root`` must name, for people."""
        return "the file of its vectors" if self.is_file else "the folder of its files"

    def refuse_root(self, name: str, root: str | None, argument: str) -> None:
        """Refuse a missing place of the data.

        Raises:
            InputError: naming the argument and the path.
        """
        if root is None and self.needs_root:
            raise InputError(f"{argument}: data set {name} needs {self.needed}")
        path = None if root is None else Path(root).expanduser()
        if path is not None and not (path.is_file() if self.is_file else path.is_dir()):
            raise InputError(f"{argument}: no such {'file' if self.is_file else 'folder'} '{root}'")


E = TypeVar("E", bound=Entry)


class PluginWarning(UserWarning):
    """A plug-in is broken or clashes with another; the rest works without it."""


class Registry(Mapping[str, E], Generic[E]):
    """The entries that ``package`` lists as ``BUILT_IN``, and those of other installed packages.

    A plug-in that cannot be loaded, is not an entry of ``kind``, or has the name of another entry is left out
    with a :class:`PluginWarning`; built-in entries are never replaced.
    """

    def __init__(self, package: str, kind: type[E]) -> None:
        self.package, self.kind = package, kind

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @cached_property
    def _entries(self) -> dict[str, E]:
        entries: dict[str, E] = dict(importlib.import_module(self.package).BUILT_IN)
        for point in sorted(entry_points(group=self.package), key=lambda point: (point.name, point.value)):
            try:
                entries[point.name] = self._plugin(point, entries)
            except Exception as error:  # whatever the code of another package raises
                reason = " ".join(str(error).split()) or type(error).__name__
                warnings.warn(
                    f"plug-in {self.package}: left out '{point.name}' of {_owner(point)}: {reason}",
                    PluginWarning,
                    stacklevel=2,
                )
        return entries

    def _plugin(self, point: EntryPoint, known: Mapping[str, E]) -> E:
        if point.name in known:
            raise ValueError("the name is taken")
        entry = point.load()
        if not isinstance(entry, self.kind):
            raise TypeError(f"'{point.value}' is not a {self.kind.__name__}")
        return entry


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


METHODS: Registry[MethodInfo] = Registry("fghash.methods", MethodInfo)
DATASETS: Registry[DatasetInfo] = Registry("fghash.data", DatasetInfo)


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
