"""Encode blocks of images, each into a file of its own: decoded by threads, whole batches, resumable."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fghash.api import LoadedRun
from fghash.codes import Codes, RealCodes, concatenate
from fghash.codes.archives import arrays_of, save_arrays
from fghash.data.datamodule import n_cores
from fghash.errors import InputError
from fghash.search.image_lists import ImageSource

_BLOCK = 512  # images, about; what a kill costs each process
_AHEAD = 4  # batches that are decoded before they are needed

Read = NDArray[np.uint8] | InputError  # an image, or why it cannot be read
Block = tuple[int, int]  # positions of images: from, up to
Tell = Callable[[int], None]  # images that were done since the last call


@dataclass(frozen=True)
class EncodingOptions:
    """How images are encoded.

    Args:
        batch_size: images that go through the network at a time.
        queries: encode what a query is compared with, where it differs from what a gallery stores.
        vectors: store the real vectors, too, for re-ranking.
        skip_unreadable: leave images out that cannot be read, and say which.
        devices: one process each, as torch names them.
        threads: that decode, of each process; by default as many as it has cores.
    """

    batch_size: int
    queries: bool = False
    vectors: bool = False
    skip_unreadable: bool = False
    devices: tuple[str, ...] = ("cpu",)
    threads: int | None = None

    @property
    def block(self) -> int:
        """Images of a part: whole batches."""
        return self.batch_size * max(1, round(_BLOCK / self.batch_size))


def part_path(parts: Path, start: int) -> Path:
    """The file of the block that begins with this image."""
    return parts / f"{start:012d}.npz"


@dataclass(frozen=True)
class EncodingJob:
    """What is to be encoded: by which run, which images, into which folder of parts, how."""

    run: LoadedRun
    sources: Sequence[ImageSource]
    parts: Path
    options: EncodingOptions


def fill(job: EncodingJob, blocks: Sequence[Block], tell: Tell) -> None:
    """Encode blocks, a file each.

    Raises:
        InputError: an image that cannot be read (unless such are skipped), or a file that cannot be written.
    """
    run, options = job.run, job.options
    order = [job.sources[i] for start, stop in blocks for i in range(start, stop)]
    with ThreadPoolExecutor(options.threads or n_cores()) as pool:
        on_cpu = run.method.device.type == "cpu"
        ready = _in_turns(run, order, pool, options) if on_cpu else _ahead(run, order, pool, options)
        for start, stop in blocks:
            _save_part(part_path(job.parts, start), *_encoded(run, ready, stop - start, options, tell))


def _read(run: LoadedRun, source: ImageSource) -> Read:
    """The image, or why it cannot be read."""
    try:
        return run.prepared(source.open())
    except InputError as error:
        return error


def _in_turns(
    run: LoadedRun, sources: Sequence[ImageSource], pool: ThreadPoolExecutor, options: EncodingOptions
) -> Iterator[Read]:
    """The images in order, a batch decoded at a time by all threads: where the network runs on the same
    cores, the two would only take them from each other.
    """
    for start in range(0, len(sources), options.batch_size):
        yield from list(pool.map(partial(_read, run), sources[start : start + options.batch_size]))


def _ahead(
    run: LoadedRun, sources: Sequence[ImageSource], pool: ThreadPoolExecutor, options: EncodingOptions
) -> Iterator[Read]:
    """The images in order, some batches of them decoded while a GPU is at work."""
    waiting: deque[Future[Read]] = deque()
    try:
        for source in sources:
            waiting.append(pool.submit(_read, run, source))
            if len(waiting) > _AHEAD * options.batch_size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _encoded(
    run: LoadedRun,
    ready: Iterator[Read],
    count: int,
    options: EncodingOptions,
    tell: Tell,
) -> tuple[list[Codes], list[RealCodes], NDArray[np.int64], dict[int, str]]:
    """Codes and vectors of the next ``count`` images in batches, places of those that were read, and why the
    others were not.
    """
    codes: list[Codes] = []
    vectors: list[RealCodes] = []
    unread: dict[int, str] = {}
    batch: list[NDArray[np.uint8]] = []
    for place in range(count):
        image = next(ready)
        if isinstance(image, InputError):
            if not options.skip_unreadable:
                raise InputError(f"{image} (--skip_unreadable leaves such out)")
            unread[place] = str(image)
        else:
            batch.append(image)
        if len(batch) == options.batch_size or (batch and place == count - 1):
            images = torch.from_numpy(np.stack(batch))
            if options.vectors:
                coded, real = run.encode_and_embed_batch(images, options.queries)
                vectors.append(_real(run, real, coded))
            else:
                coded = run.encode_batch(images, options.queries)
            codes.append(coded)
            batch = []
        tell(1)
    read = np.array([place for place in range(count) if place not in unread], np.int64)
    return codes, vectors, read, unread


def _real(run: LoadedRun, embedding: RealCodes | None, codes: Codes) -> RealCodes:
    found = codes if isinstance(codes, RealCodes) else embedding
    if found is None:
        raise InputError(f"--vectors: the method {run.config.method.name} has no real vectors")
    return found


def _save_part(
    path: Path, codes: list[Codes], vectors: list[RealCodes], read: NDArray[np.int64], unread: dict[int, str]
) -> None:
    arrays: dict[str, Any] = {"read": read, "unread": np.str_(json.dumps(unread))}
    if codes:
        arrays |= arrays_of(concatenate(codes))
    if vectors:
        joined = concatenate(vectors)
        arrays |= {"vectors": joined.vectors, "vectors_similarity": np.str_(joined.similarity)}
    save_arrays(path, arrays, argument="--out")
