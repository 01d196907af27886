"""Building the decoded cache: beside its place, under a lock, never larger than announced.

A cache is built in a hidden folder and then renamed, so a half-built one is never seen; of several runs
that need the same one, one builds and the others wait. Its name holds the data's fingerprint, a hash of the
files' names and sizes, and the short side.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from fghash.data.images.cache import VERSION, Bytes, Decoded, Index, checksum, digest, open_cache
from fghash.data.images.decoding import image_shape
from fghash.data.images.resample import scaled_shape
from fghash.data.items import Files
from fghash.errors import InputError
from fghash.files import acquired, disk_errors, reserve


def decoded(files: Files, cache: str, fingerprint: str, short_side: int, n_threads: int) -> Decoded:
    """The images of ``files`` in memory (``cache``: ``ram``, ``gpu``) or below ``cache``, built if need be.

    Raises:
        InputError: no room, no permission, a cache that is damaged or of another version, an unreadable
            image.
    """
    if cache in ("ram", "gpu"):
        return _in_memory(files, short_side, n_threads)
    root = Path(cache).expanduser()
    place = root / f"{fingerprint}-{contents(files)}-{short_side}px"
    if not place.is_dir():
        with disk_errors("--data.cache", root):
            root.mkdir(parents=True, exist_ok=True)
            lock = acquired(root / f".{place.name}.lock", seconds=-1)
            try:
                _clear(root.glob(f".{place.name}.building-*"))  # half-built by a process that was killed
                if not place.is_dir():
                    _build(files, place, short_side, n_threads)
            finally:
                lock.release()
    return open_cache(place, len(files), short_side)


def contents(files: Files) -> str:
    """Hash of names and sizes of the files: an image that was replaced makes another cache."""
    contents = hashlib.sha256()
    for name in files.names:
        path = files.root / name
        size = path.stat().st_size if path.exists() else -1
        contents.update(os.fsencode(f"{name}\t{size}\n"))
    return contents.hexdigest()[:8]


def _build(files: Files, place: Path, short_side: int, n_threads: int) -> None:
    """Build beside the place, then rename; on any failure nothing is left."""
    index = Index.of(_shapes(files, short_side, n_threads))
    _announce(index.n_bytes, shutil.disk_usage(place.parent).free, str(place))
    building = place.with_name(f".{place.name}.building-{os.getpid()}")
    try:
        building.mkdir()
        _write(files, index, building, short_side, n_threads)
        _publish(building, place)
    finally:
        _clear([building])


def _clear(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(building: Path, place: Path) -> None:
    try:
        building.rename(place)
    except OSError:
        if not place.is_dir():  # else another builder was first, where there are no locks
            raise


def _write(files: Files, index: Index, folder: Path, short_side: int, n_threads: int) -> None:
    with (folder / "pixels").open("w+b") as file:
        reserve(file.fileno(), index.n_bytes)
        if index.n_bytes:
            pixels = np.memmap(file, np.uint8, "r+", shape=(index.n_bytes,))
            _fill(files, index, pixels, short_side, n_threads)
            pixels.flush()
    packed = io.BytesIO()
    np.savez(packed, shapes=index.shapes, starts=index.starts, sums=index.sums)
    (folder / "index.npz").write_bytes(packed.getvalue())
    about = {
        "version": VERSION,
        "items": len(files),
        "short_side": short_side,
        "bytes": index.n_bytes,
        "index": digest(packed.getvalue()),
    }
    (folder / "cache.json").write_text(json.dumps(about))


def _in_memory(files: Files, short_side: int, n_threads: int) -> Decoded:
    index = Index.of(_shapes(files, short_side, n_threads))
    _announce(index.n_bytes, free_memory(), "memory")
    pixels = np.frombuffer(mmap.mmap(-1, max(index.n_bytes, 1)), np.uint8)  # shared with forked processes
    _fill(files, index, pixels, short_side, n_threads)
    pixels.flags.writeable = False
    return Decoded(index, "memory", memory=pixels)


def free_memory() -> int:
    """What the system says is available, or no limit where it does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return 1 << 62


def _announce(n_bytes: int, free: int, where: str) -> None:
    if n_bytes > free:
        raise InputError(
            f"--data.cache: {where} needs {n_bytes / 1e9:.2f} GB, only {free / 1e9:.2f} GB are free"
        )


def _shapes(files: Files, short_side: int, n_threads: int) -> list[tuple[int, int]]:
    """Shapes of the scaled images, from the files' headers."""

    def shape(position: int) -> tuple[int, int]:
        return scaled_shape(*image_shape(files.root / files.names[position]), short_side)

    return list(_each(shape, len(files), n_threads, "measuring pictures"))


def _fill(files: Files, index: Index, pixels: Bytes, short_side: int, n_threads: int) -> None:
    def one(position: int) -> None:
        picture = files.read(position, short_side)
        room = index.room(pixels, position)
        if picture.shape[:2] != tuple(index.shapes[position]):
            raise InputError(f"image {files.names[position]}: its header and its pixels differ in shape")
        room[: picture.size] = picture.reshape(-1)
        index.sums[position] = checksum(room)

    title = f"decoding {len(files):,} pictures ({index.n_bytes / 1e9:.2f} GB)"
    for _ in _each(one, len(files), n_threads, title):
        pass


def _each(do: Callable[[int], Any], count: int, n_threads: int, title: str) -> Iterator[Any]:
    """``do`` for 0 .. count - 1 on several threads, results in order, with a progress bar."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(max(1, n_threads)) as pool, bar:
        futures = [pool.submit(do, position) for position in range(count)]
        try:
            for future in bar.track(futures, description=title):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
