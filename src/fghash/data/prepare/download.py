"""Downloads that survive what networks do: resumed, checked, from the next mirror if one fails."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from fghash.data.prepare.origins import SOURCES, Archive, Preparation
from fghash.data.prepare.unpack import is_packed, unpack
from fghash.errors import InputError
from fghash.files import disk_errors
from fghash.registry import nearest

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_ATTEMPTS = 3  # of one mirror: each resumes where the last one broke off


def prepare(name: str, root: str | Path, sources: dict[str, Preparation] = SOURCES) -> Path:
    """Download, check and unpack a data set below ``root``; what is there already is left alone. Gives
    ``root``.

    Raises:
        InputError: nothing is known of ``name``, it has to be fetched by hand (the message has the steps), no
            mirror served the right file, the disk is full, or an archive is not what it should be.
    """
    if name not in sources:
        raise InputError(
            f"data: cannot fetch '{name}' (known: {', '.join(sorted(sources))}){nearest(name, sources)}"
        )
    preparation, folder = sources[name], Path(root).expanduser()
    if preparation.steps:
        raise InputError(by_hand(name, preparation, folder))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--root: expected a folder, got the file '{folder}'")
    with disk_errors("--root", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for archive in preparation.archives:
            _install(archive, folder)
    return folder


def by_hand(name: str, preparation: Preparation, root: Path) -> str:
    """What a person has to do, as one line."""
    steps = " ".join(preparation.steps).replace("ROOT", str(root))
    return f"data: {name} has to be fetched by hand ({preparation.terms}): {steps}"


def _install(archive: Archive, root: Path) -> None:
    """Have an archive's contents below ``root``; a note beside them says that they are complete."""
    done = root / f".{archive.name}.done"
    if _is_complete(done, archive, root):
        return
    file, names = fetch(archive, root), [archive.name]
    if is_packed(file):
        names = [f"{archive.into}/{name}".lstrip("/") for name in unpack(file, root / archive.into)]
        file.unlink()
    done.write_text("\n".join([archive.md5, *names]), encoding="utf-8")


def _is_complete(done: Path, archive: Archive, root: Path) -> bool:
    """Whether the note is of this archive, and what it names has not been removed since."""
    if not done.exists():
        return False
    md5, *names = done.read_text(encoding="utf-8").splitlines() or [""]
    return md5 == archive.md5 and all((root / name).exists() for name in names)


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive's file in ``folder``, downloaded from the first mirror that serves it right.

    A download that breaks off stays as ``<name>.part`` and is resumed by the next attempt, mirror or call.

    Raises:
        InputError: no mirror did; the message has each one's reason.
    """
    file, part = folder / archive.name, folder / f"{archive.name}.part"
    if file.exists() and md5(file) == archive.md5:
        return file
    reasons = []
    for url in archive.urls:
        try:
            _from_mirror(url, part, archive)
            part.replace(file)
            return file
        except _Failure as failure:
            reasons.append(f"{url}: {failure}")
    raise InputError(f"data: cannot download {archive.name} ({'; '.join(reasons)}); call again to resume")


class _Failure(Exception):
    """One mirror's reason."""


def _from_mirror(url: str, part: Path, archive: Archive) -> None:
    """Complete ``part`` from this mirror, or say why not; a file with the wrong checksum is not kept."""
    for attempt in range(_ATTEMPTS):
        resumed = part.exists()
        try:
            _transfer(url, part, archive.name)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # the part is longer than the file: the checksum will tell
                raise _Failure(f"HTTP {error.code}") from error
        except (OSError, urllib.error.URLError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            if attempt + 1 < _ATTEMPTS:
                continue
            raise _Failure(" ".join(str(error).split())) from error
        if md5(part) == archive.md5:
            return
        part.unlink()
        if not resumed:
            raise _Failure("wrong checksum")
    raise _Failure("wrong checksum")


def _transfer(url: str, part: Path, title: str) -> None:
    """Append to ``part`` what it lacks; raise OSError if the transfer ends early."""
    if not url.startswith(("http://", "https://")):
        raise _Failure("only http and https are allowed")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fghash"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme is checked above
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
        have = have if answer.status == 206 else 0
        total = have + int(answer.headers.get("Content-Length", 0))
        _check_room(part.parent, total - have)
        with part.open("ab" if have else "wb") as file:
            have = _copy(answer, file, have, total, title)
    if have < total:
        raise ConnectionError(f"the transfer broke off after {have:,} of {total:,} bytes")


def _copy(answer: Any, file: Any, have: int, total: int, title: str) -> int:
    """Write the answer with a progress bar; the number of bytes that the file then has."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total or None, completed=have)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            progress.update(task, completed=have)
    return have


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def md5(path: Path) -> str:
    """MD5 of a file: what publishers give out; it guards against accidents, not against enemies."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
