"""Unpacking what came from the network: files and folders only, inside the folder, no larger than allowed."""

from __future__ import annotations

import errno
import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from fghash.errors import InputError

LIMIT = 64 << 30  # bytes that an archive may unpack to
_CHUNK = 1 << 20
_TAR = (".tar", ".tar.gz", ".tgz")
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError,
    UnicodeDecodeError,
)  # fmt: skip
# of names that a file system cannot have, or that are a file and a folder at once
_OF_NAMES = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


def is_packed(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.endswith((*_TAR, ".zip"))


def unpack(archive: Path, folder: Path, limit: int = LIMIT) -> list[str]:
    """Unpack a tar or zip archive into ``folder``, all of it or nothing; the names that are then in it.

    Raises:
        InputError: no archive, a damaged one, or a member that is a link or device, would lie outside the
            folder,
            or exceeds ``limit`` bytes together with those before it.
    """
    scratch = folder / f".{archive.name}.unpacking"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _write_members(archive, scratch, limit)
        names = sorted(path.name for path in scratch.iterdir())
        _move(scratch, folder)
        return names
    except _DAMAGE as error:
        raise InputError(f"archive {archive}: damaged ({error})") from error
    except OSError as error:
        if error.filename or error.errno == errno.ENOSPC:
            raise
        raise InputError(f"archive {archive}: damaged ({error})") from error  # a place outside the file
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_members(archive: Path, scratch: Path, limit: int) -> None:
    left = limit
    for name, content in _members(archive):
        with _new_file(archive, name, scratch / _inside(archive, name)) as file:
            while chunk := content.read(_CHUNK):  # what is counted is what comes, not what a header claims
                left -= len(chunk)
                if left < 0:
                    raise InputError(f"archive {archive}: unpacks to more than {limit:,} bytes, refused")
                file.write(chunk)


def _new_file(archive: Path, name: str, target: Path) -> IO[bytes]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("wb")
    except OSError as error:
        if error.errno not in _OF_NAMES:
            raise
        raise InputError(f"archive {archive}: member {name[:80]!r}: {error.strerror}") from error
    except ValueError as error:  # a null byte or a surrogate
        raise InputError(f"archive {archive}: member {name[:80]!r}: {error}") from error


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InputError(f"archive {archive}: member {name!r} would lie outside the folder, refused")
    return path


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file in the archive, in order; folders come with their files."""
    if archive.name.endswith(".zip"):
        yield from _zip_members(archive)
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isdir():
                continue
            content = packed.extractfile(member) if member.isfile() else None
            if content is None:
                raise InputError(f"archive {archive}: member {member.name!r} is a link or device, refused")
            yield member.name, content


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if (member.external_attr >> 28) == 0xA:  # the file type of Unix: a symbolic link
                raise InputError(
                    f"archive {archive}: member {member.filename!r} is a link or device, refused"
                )
            if not member.is_dir():
                with packed.open(member) as content:
                    yield member.filename, content


def _move(scratch: Path, folder: Path) -> None:
    """Put every file in its place; nothing that is there is removed, only files of the same name replaced."""
    for path in sorted(scratch.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
