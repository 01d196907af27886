"""Files that are whole or absent: a killed process never leaves half a result under its final name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fghash.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with its suffix, that takes its place if the block succeeds.

    Raises:
        InputError: the folder cannot be made or written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"runs: cannot write '{path}' ({error.strerror or error})") from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically; a pipe or a terminal is not replaced but written to.

    Raises:
        InputError: the folder cannot be made or written.
    """
    if path.exists() and not path.is_file():
        _write_in_place(path, text)
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def is_temporary(path: Path) -> bool:
    """Whether the name is one of :func:`replacing`'s, left behind by a killed process."""
    return path.name.startswith(".") and ".tmp" in path.name


def _write_in_place(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"out: cannot write '{path}' ({error.strerror or error})") from error


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
