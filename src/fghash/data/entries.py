"""What counts in a folder of images: everything that Pillow can open; what is left out is said once."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fghash.data.images.decoding import can_open
from fghash.display import harmless
from fghash.errors import InputError
from fghash.registry import nearest

_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "@eadir", "$recycle.bin"})
_LISTED = 8  # kinds of skipped files that a warning names


class DataWarning(UserWarning):
    """Something in the user's data that was left out or is suspicious."""


class Skipped:
    """Counts what is left out of a tree, and says so in one line."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.hidden = 0

    def warn(self, root: Path) -> None:
        """One warning line, or none where everything counted."""
        parts = []
        if self.files:
            kinds = self.files.most_common()
            named = ", ".join(f"{kind} {count}" for kind, count in kinds[:_LISTED])
            more = ", ..." if len(kinds) > _LISTED else ""
            parts.append(f"{_count(sum(self.files.values()), 'file')} that Pillow cannot open: {named}{more}")
        if self.hidden:
            parts.append(f"{_count(self.hidden, 'hidden or system entry', 'hidden or system entries')}")
        if parts:
            text = harmless(f"{root}: skipped {'; '.join(parts)}")
            warnings.warn(text, DataWarning, stacklevel=2)


def images(folder: Path, skipped: Skipped) -> list[Path]:
    """The images directly in ``folder``, by name; what is left out is counted.

    Raises:
        InputError: the folder cannot be read.
    """
    return [path for path in _entries(folder, skipped) if not path.is_dir() and _counts(path, skipped)]


def folders(folder: Path, skipped: Skipped) -> list[Path]:
    """The folders directly in ``folder``, by name, without hidden ones and those of the system.

    Raises:
        InputError: the folder cannot be read.
    """
    return [path for path in _entries(folder, skipped) if path.is_dir()]


def find(root: Path, name: str) -> str | None:
    """The name under which a listed file exists below ``root``: as listed, with slashes for backslashes, or
    with letters composed otherwise (NFC, NFD); ``None`` if it does not.
    """
    slashes = name.replace("\\", "/")
    for candidate in (name, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))):
        if _is_file(root / candidate):
            return candidate
    return None


def missing(root: Path, name: str) -> str:
    """Why a listed file is not there, with the nearest name that is."""
    path, shown = root / name.replace("\\", "/"), harmless(name if len(name) <= 200 else f"{name[:200]}...")
    try:
        if path.is_symlink():
            return f"{shown}, a link to nothing"
        near = nearest(path.name[:200], [entry.name for entry in path.parent.iterdir()])
    except (OSError, ValueError):
        return f"{shown}, which is not in {harmless(str(root))} (there is no such folder)"
    return f"{shown}, which is not in {harmless(f'{root}{near}')}"


def _entries(folder: Path, skipped: Skipped) -> Iterator[Path]:
    try:
        found = sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError as error:
        raise InputError(f"cannot read folder {harmless(str(folder))}: {error.strerror or error}") from error
    for path in found:
        if path.name.startswith(".") or path.name.lower() in _SYSTEM:
            skipped.hidden += 1
        else:
            yield path


def _counts(path: Path, skipped: Skipped) -> bool:
    if path.is_symlink() and not path.exists():
        skipped.files["links to nothing"] += 1
        return False
    if _is_file(path) and can_open(path):
        return True
    skipped.files[path.suffix.lower() or "without suffix"] += 1
    return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long or has a NUL byte
        return False


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
