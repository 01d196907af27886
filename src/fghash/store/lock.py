"""One process at a time trains a run."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import Timeout

from fghash.errors import InputError
from fghash.files import acquired, cannot_write
from fghash.store.writing import with_folder


class LockedError(InputError):
    """Another process holds the lock: waiting helps."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of the block.

    The system frees the lock of a process that is killed, and forked loader workers do not inherit it: so a
    lock never has to be cleaned up. The file stays, empty while nobody holds it.

    Raises:
        LockedError: a process holds it already (the message says which).
        InputError: it cannot be written.
    """
    path = path.resolve()
    try:
        lock = acquired(with_folder(path))
    except (Timeout, RuntimeError):  # RuntimeError: this thread holds it
        raise LockedError(f"runs: '{path.parent}' is being written by {_holder(path)}") from None
    except OSError as error:
        raise cannot_write(path, "runs", error) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        _note(path, f"process {os.getpid()} on {platform.node()} since {since}")
        yield
    finally:
        _note(path, "")
        lock.release()


def _holder(path: Path) -> str:
    text = ""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="utf-8").strip()[:200]
    if " on " not in text or f" on {platform.node()} " in text:
        return text or "another process"
    return f"{text} (if that machine is down, delete '{path}')"


def _note(path: Path, text: str) -> None:
    # Some systems let nobody write to a locked file: then the message does without the holder's name.
    with contextlib.suppress(OSError):
        path.write_text(text, encoding="utf-8")
