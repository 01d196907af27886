"""``fghash list``: what can be chosen by name; nothing of it is imported."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from fghash.cli.options import Options
from fghash.errors import InputError
from fghash.methods.planned import PLANNED
from fghash.registry import DATASETS, METHODS, Entry, nearest

_KINDS: dict[str, Mapping[str, Entry]] = {"methods": METHODS, "datasets": DATASETS}


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash list ARGV``; the exit status."""
    options = Options("list", "What each method or data set is, its paper, year and certainty.")
    options.add_argument("kind", metavar="methods|datasets", help="what to list")
    options.add_argument(
        "--planned", action="store_true", help="methods that are not here yet, and what is missing for each"
    )
    given = options.read(argv)
    kind = given.kind
    if kind not in _KINDS:
        raise InputError(f"list: unknown name '{kind}' (known: {', '.join(_KINDS)}){nearest(kind, _KINDS)}")
    if given.planned and kind != "methods":
        raise InputError(f"--planned: of {kind}, expected methods")
    print("\n".join(_planned() if given.planned else _lines(_KINDS[kind])))
    return 0


def _planned() -> Iterator[str]:
    width = max(map(len, PLANNED)) + 2
    for name, entry in sorted(PLANNED.items()):
        yield f"{name:<{width}}{entry.year:<6}{entry.paper}"
        yield from _below(width, "missing", entry.missing)


def _lines(registry: Mapping[str, Entry]) -> Iterator[str]:
    width = max((len(name) for name in registry), default=0) + 2
    for name, entry in sorted(registry.items()):
        year = "" if entry.year is None else str(entry.year)
        yield f"{name:<{width}}{year:<6}{entry.summary}"
        for label, text in _details(entry):
            yield from _below(width, label, text)


def _below(width: int, label: str, text: str) -> list[str]:
    """A detail in lines below its entry."""
    indent = " " * (width + 6)
    return textwrap.wrap(f"{label}: {text}", 110, initial_indent=indent, subsequent_indent=indent + "  ")


def _details(entry: Entry) -> Iterator[tuple[str, str]]:
    for label in ("paper", "certainty", "notes"):
        if text := getattr(entry, label, ""):
            yield label, text
    if getattr(entry, "needs_root", False):
        yield "needs", f"--data.root, {getattr(entry, 'needed', '')}"
