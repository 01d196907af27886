"""Writing below the runs folder, and where a table goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fghash import files
from fghash.files import cannot_write


def with_folder(path: Path) -> Path:
    """``path``, once the folders that it lies in exist.

    Raises:
        InputError: a folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, "runs", error) from error
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As :func:`fghash.files.replacing`, with the folders that the file lies in.

    Raises:
        InputError: the folder cannot be made or written.
    """
    with files.replacing(with_folder(path), "runs") as temporary:
        yield temporary


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


def _write_in_place(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, "out", error) from error
