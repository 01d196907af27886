"""Skeletons of outside packages: a method or a data set with its entry point and a test, ready to be filled.

Every file below ``method`` and ``dataset`` is a template: ``$name``, ``$Name`` and ``$package`` are replaced,
in its text and, as ``NAME`` and ``PACKAGE``, in its path; ``.txt`` at the end of its name is dropped.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from fghash.errors import InputError
from fghash.files import cannot_write

KINDS = ("method", "dataset")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def write_skeleton(kind: str, name: str, folder: Path, taken: Collection[str] = ()) -> list[Path]:
    """Write the package of a method or data set ``name`` to a folder that is new or empty; its files.

    Raises:
        InputError: an unknown kind, a name that cannot be one or is taken, a folder that is not empty.
    """
    if kind not in KINDS:
        raise InputError(f"new: unknown kind '{kind}' (known: {', '.join(KINDS)})")
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise InputError(f"NAME: '{name}', expected a small letter, then small letters, digits or _")
    if name in taken:
        raise InputError(f"NAME: '{name}' is the name of a {kind} already, expected another one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"DIR: '{folder}' is there and not empty, expected a new folder")
    package = f"fghash_{name}"
    words = {"name": name, "Name": "".join(part.capitalize() for part in name.split("_")), "package": package}
    written = []
    for parts, template in _templates(resources.files(__name__) / kind, ()):
        place = "/".join(parts).removesuffix(".txt").replace("NAME", name).replace("PACKAGE", package)
        path = folder / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                Template(template.read_text(encoding="utf-8")).substitute(words), encoding="utf-8"
            )
        except OSError as error:
            raise cannot_write(path, "DIR", error) from error
        written.append(path)
    return sorted(written)


def _templates(folder: Traversable, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, (*above, entry.name))
        elif entry.name.endswith(".txt"):
            yield (*above, entry.name), entry
