"""Files that are whole or absent: a killed process never leaves half a result under its final name."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fghash.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


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


def reserve(descriptor: int, n_bytes: int) -> None:
    """Take the space of a file at once: a full disk shows now, not as a bus error in the middle."""
    if hasattr(os, "posix_fallocate") and n_bytes:
        os.posix_fallocate(descriptor, 0, n_bytes)
    else:
        os.truncate(descriptor, n_bytes)


@contextmanager
def disk_errors(argument: str, root: Path) -> Iterator[None]:
    """Whatever the system says of writing below ``root``, in one line that names the argument."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else f"{error.strerror or error}"
        raise InputError(f"{argument}: cannot write below {root}: {reason}") from error


@contextmanager
def full_disk(argument: str, root: Path) -> Iterator[None]:
    """What the system says when nothing can be written any more, by whichever library, in a line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InputError(
            f"{argument}: cannot write below '{root}' ({error.strerror}); with room the same command goes on"
        ) from error


def is_temporary(path: Path) -> bool:
    """Whether the name is one of :func:`replacing`'s, left behind by a killed process."""
    return path.name.startswith(".") and ".tmp" in path.name


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
