"""One process at a time trains a run."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from fghash.errors import InputError
from fghash.files import cannot_write

_held: set[Path] = set()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of the block.

    The kernel drops a record lock when its process dies, however it dies, and forked loader workers do not
    inherit it: so the lock of a killed process never has to be cleaned up.

    Raises:
        InputError: someone holds it already (the message says who), or it cannot be written.
    """
    path = path.resolve()
    if path in _held:
        raise InputError(f"runs: '{path.parent}' is already being written by this process")
    with _open(path) as file:
        _take(file, path)
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)
            file.truncate(0)


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, "runs", error) from error


def _take(file: IO[str], path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise InputError(f"runs: '{path.parent}' is being written by {holder}") from None
    file.truncate(0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    file.write(f"process {os.getpid()} on {platform.node()} since {since}")
    file.flush()
