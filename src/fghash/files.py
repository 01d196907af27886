"""Files that are whole or absent: a killed process never leaves half a result under its final name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from fghash.errors import InputError

LEASE = 60.0  # seconds
_HAS_NONE = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class NoLocks(UserWarning):
    """The file system has no locks."""


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


@contextmanager
def replacing_folder(folder: Path, argument: str) -> Iterator[Path]:
    """The path of a folder beside ``folder``, to be made, that takes its place if the block succeeds.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    building = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(argument, folder.parent):
        shutil.rmtree(building, ignore_errors=True)
        try:
            yield building
            if folder.exists():
                shutil.rmtree(folder)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def is_taken(folder: Path) -> bool:
    """Whether there is something already: a file, or a folder that is not empty."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def acquired(path: Path, seconds: float = 0.0) -> BaseFileLock:
    """The lock file ``path``, held; ``release()`` frees it, and so does the end of the process.

    On a file system without locks a lease beside it is renewed all the time; one that nobody has renewed for
    a minute is taken over.

    Args:
        path: of the file, in a folder that exists.
        seconds: to wait for another holder; -1 is for ever.

    Raises:
        filelock.Timeout: another process holds it.
        OSError: it cannot be written.
    """
    lock = FileLock(path, timeout=seconds, fallback_to_soft=False)
    try:
        lock.acquire()
        return lock
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _HAS_NONE:
            raise
    warnings.warn(
        f"locks: the file system of '{path.parent}' has none, a lease serves in their place (that of a dead "
        f"process is taken over after {LEASE:.0f} s)",
        NoLocks,
        stacklevel=3,
    )
    wait = seconds if seconds < 0 else max(seconds, 1.5 * LEASE)
    lease = SoftFileLease(f"{path}.lease", lease_duration=LEASE, timeout=wait)
    lease.acquire()
    return lease


def is_temporary(path: Path) -> bool:
    """Whether the name is one of :func:`replacing`'s, left behind by a killed process."""
    return path.name.startswith(".") and ".tmp" in path.name


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
