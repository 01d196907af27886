"""Files that are whole or absent: a killed process never leaves half a result under its final name."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fghash.errors import InputError


@contextmanager
def replacing(path: str | Path, argument: str = "path") -> Iterator[Path]:
    """A temporary path beside ``path``, with its suffix, that takes its place if the block succeeds.

    Raises:
        InputError: the file cannot be written; the message names the ``argument`` that gave the path.
    """
    path = Path(path)
    if not path.name:
        raise InputError(f"{argument}: '{path}', expected the name of a file")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, argument, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def cannot_write(path: Path, argument: str, error: OSError) -> InputError:
    """The one line about a path that cannot be written."""
    return InputError(f"{argument}: cannot write '{path}' ({error.strerror or error})")


def is_temporary(path: Path) -> bool:
    """Whether the name is one of :func:`replacing`'s, left behind by a killed process."""
    return path.name.startswith(".") and ".tmp" in path.name


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
