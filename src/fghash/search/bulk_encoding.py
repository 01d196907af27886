"""Encode any number of images into one file of codes: decoded by threads, in blocks that survive a kill.

Beside the file lies ``<name>.parts`` until it is complete: a manifest and one ``.npz`` for each block of
images. The same command goes on where it stopped; blocks are whole batches, so that the codes are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from numpy.typing import NDArray

from fghash.api import LoadedRun, class_names_of, load_run
from fghash.backbone import GIVEN
from fghash.codes import Codes, RealCodes, concatenate
from fghash.codes.archives import arrays_of, codes_of, load_arrays, save_arrays
from fghash.errors import InputError
from fghash.files import full_disk, replacing
from fghash.search.coded_items import CodedItems, load_items, remove_quietly, require_suffix, save_items
from fghash.search.image_lists import ImageSource
from fghash.store.parsing import read_json

_BLOCK = 512  # images, about; what a kill costs each process
_AHEAD = 4  # batches that are decoded before they are needed
_POLL = 0.2  # seconds

Read = NDArray[np.uint8] | InputError  # an image, or why it cannot be read
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


@dataclass(frozen=True)
class EncodedFile:
    """What became of the images: items in the file, and (id, why) of those that could not be read."""

    items: int
    skipped: tuple[tuple[str, str], ...]
    before: int = 0  # encoded by an earlier call


def encode_files(
    run: LoadedRun,
    sources: Sequence[ImageSource],
    out: Path,
    options: EncodingOptions,
    tell: Tell = lambda count: None,
) -> EncodedFile:
    """Encode the images into ``out``; what an interrupted call did is not done again.

    Raises:
        InputError: an image that cannot be read (unless such are skipped), parts of another encoding, no
            space, or a run without a network.
    """
    require_suffix(out)
    if run.config.backbone.name == GIVEN:
        raise InputError(f"run: '{run.folder}' was trained on given vectors: it has no network for images")
    parts = out.with_name(f"{out.name}.parts")
    blocks = _blocks(len(sources), options.block)
    with full_disk("--out", out.parent):
        _begin(parts, _identity(run, sources, options))
        left = [block for block in blocks if not _part(parts, block[0]).is_file()]
        before = len(sources) - sum(stop - start for start, stop in left)
        tell(before)
        _encode_blocks(run, sources, parts, options, left, tell)
        items, skipped = _joined(run, sources, parts, blocks)
        save_items(out, items)
    shutil.rmtree(parts, ignore_errors=True)
    return EncodedFile(len(items), skipped, before)


def is_encoded(out: Path, run: LoadedRun, sources: Sequence[ImageSource], options: EncodingOptions) -> bool:
    """Whether ``out`` holds just this already.

    Raises:
        InputError: it holds something else.
    """
    if not out.exists():
        return False
    try:
        same = load_items(out).facts.get("encoding") == _identity(run, sources, options)
    except InputError:
        same = False
    if not same:
        raise InputError(f"--out: '{out}' is there and holds something else (--force replaces it)")
    return True


def forget(out: Path) -> None:
    """Delete the file and its parts."""
    remove_quietly(out)
    remove_quietly(out.with_name(f"{out.name}.parts"))


# -- blocks --------------------------------------------------------------------------------------------------


def _blocks(n: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:012d}.npz"


def _identity(run: LoadedRun, sources: Sequence[ImageSource], options: EncodingOptions) -> str:
    """What determines the codes, by content."""
    digest = hashlib.sha256(f"{run.encoder} {run.config.bits} {options.block} {options.batch_size}".encode())
    digest.update(f"{options.queries} {options.vectors} {options.skip_unreadable}".encode())
    for source in sources:
        digest.update(os.fsencode(f"{source.id}\0{source.path}\0{source.span}\0{source.label}\n"))
    return digest.hexdigest()[:16]


def _begin(parts: Path, identity: str) -> None:
    manifest = parts / "manifest.json"
    if manifest.is_file():
        if read_json(manifest) != {"encoding": identity}:
            raise InputError(
                f"--out: '{parts}' holds parts of another encoding (other images, run or settings); --force "
                "deletes them, or choose another --out"
            )
        return
    parts.mkdir(parents=True, exist_ok=True)
    with replacing(manifest, "--out") as temporary:
        temporary.write_text(json.dumps({"encoding": identity}) + "\n", encoding="utf-8")


def _encode_blocks(
    run: LoadedRun,
    sources: Sequence[ImageSource],
    parts: Path,
    options: EncodingOptions,
    blocks: Sequence[tuple[int, int]],
    tell: Tell,
) -> None:
    """By this process, or by one for each of several devices."""
    count = min(len(options.devices), len(blocks))
    if count > 1:
        _by_processes(run.folder, sources, parts, options, blocks, tell)
    elif blocks:
        run.method.to(options.devices[0])
        _fill(run, sources, parts, options, blocks, tell)


def _fill(
    run: LoadedRun,
    sources: Sequence[ImageSource],
    parts: Path,
    options: EncodingOptions,
    blocks: Sequence[tuple[int, int]],
    tell: Tell,
) -> None:
    order = [sources[i] for start, stop in blocks for i in range(start, stop)]
    with ThreadPoolExecutor(options.threads or len(os.sched_getaffinity(0))) as pool:
        on_cpu = run.method.device.type == "cpu"
        ready = _in_turns(run, order, pool, options) if on_cpu else _ahead(run, order, pool, options)
        for start, stop in blocks:
            _save_part(_part(parts, start), *_encoded(run, ready, stop - start, options, tell))


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
    save_arrays(path, arrays)


def _joined(
    run: LoadedRun, sources: Sequence[ImageSource], parts: Path, blocks: Sequence[tuple[int, int]]
) -> tuple[CodedItems, tuple[tuple[str, str], ...]]:
    """All parts as one, in order."""
    codes: list[Codes] = []
    vectors: list[RealCodes] = []
    kept: list[ImageSource] = []
    skipped: list[tuple[str, str]] = []
    for start, _ in blocks:
        arrays = load_arrays(_part(parts, start))
        unread = json.loads(str(arrays["unread"]))
        skipped += [(sources[start + int(place)].id, why) for place, why in unread.items()]
        kept += [sources[start + place] for place in arrays["read"].tolist()]
        if len(arrays["read"]):
            codes.append(codes_of(arrays))
        if "vectors" in arrays:
            vectors.append(RealCodes(arrays["vectors"], str(arrays["vectors_similarity"])))
    if not codes:
        raise InputError(f"images: none of {len(sources):,} can be read, the first: {skipped[0][1]}")
    identity = read_json(parts / "manifest.json")["encoding"]
    names = class_names_of(run.folder)
    labels, names = _labels([source.label for source in kept], names)
    facts = {**facts_of(run), "encoding": identity, "class_names": list(names), "folder": str(Path.cwd())}
    if any(source.id != source.path for source in kept):
        facts["paths"] = {
            source.id: source.path for source in kept if source.id != source.path and not source.span
        }
    ids = np.array([source.id for source in kept], dtype=np.str_)
    real = concatenate(vectors) if vectors else None
    return CodedItems(concatenate(codes), ids, labels, real, facts), tuple(skipped)


def facts_of(run: LoadedRun) -> dict[str, Any]:
    """What is known of codes that a run makes."""
    return {
        "encoder": run.encoder,
        "run": str(run.folder.resolve()),
        "method": run.config.method.name,
        "bits": run.config.bits,
        "backbone": run.config.backbone.name,
        "trained_on": run.config.data.name,
    }


def _labels(texts: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (n,) and the names of the classes; ``None`` where an item has none.

    Texts that are all names of the run's classes are numbered as there; integers are taken as they are.
    """
    if not all(texts):
        return None, tuple(names)
    if set(texts) <= set(names):
        numbers = {name: i for i, name in enumerate(names)}
        return np.array([numbers[text] for text in texts], np.int64), tuple(names)
    if all(text.lstrip("-").isdecimal() and len(text) < 18 for text in texts):
        return np.array([int(text) for text in texts], np.int64), tuple(names)
    own = sorted(set(texts))
    numbers = {name: i for i, name in enumerate(own)}
    return np.array([numbers[text] for text in texts], np.int64), tuple(own)


# -- several processes ---------------------------------------------------------------------------------------


def _by_processes(
    folder: Path,
    sources: Sequence[ImageSource],
    parts: Path,
    options: EncodingOptions,
    blocks: Sequence[tuple[int, int]],
    tell: Tell,
) -> None:
    """A process for each device takes every n-th block; the first error of any ends all."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    count = min(len(options.devices), len(blocks))
    processes = []
    for rank in range(count):
        share = blocks[rank::count]
        needed = {i: sources[i] for start, stop in share for i in range(start, stop)}
        arguments = (rank, count, folder, needed, parts, options, share, answers)
        processes.append(context.Process(target=_work, args=arguments, daemon=True))
    try:
        for process in processes:
            process.start()
        _follow(processes, answers, tell)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _follow(processes: Sequence[Any], answers: Any, tell: Tell) -> None:
    """Until every process has said that it is done.

    Raises:
        InputError: what one of them raised, or that one died.
    """
    done = 0
    while done < len(processes):
        if answers.empty():
            dead = [process for process in processes if process.exitcode not in (None, 0)]
            if dead and answers.empty():
                raise InputError(
                    f"encode: a process ended with status {dead[0].exitcode} (no memory left?); the same "
                    "command goes on"
                )
            processes[0].join(_POLL)
            continue
        answer = answers.get()
        if isinstance(answer, str):
            raise InputError(answer)
        if answer is None:
            done += 1
        else:
            tell(answer)


class _Sources(Sequence[ImageSource]):
    """Some images under their positions among all."""

    def __init__(self, known: dict[int, ImageSource]) -> None:
        self.known = known

    def __getitem__(self, position: Any) -> Any:
        return self.known[position]

    def __len__(self) -> int:
        return len(self.known)


def _work(
    rank: int,
    count: int,
    folder: Path,
    sources: dict[int, ImageSource],
    parts: Path,
    options: EncodingOptions,
    blocks: Sequence[tuple[int, int]],
    answers: Any,
) -> None:
    """In a process of its own; tells counts, then ``None``, or an error in words."""
    if options.devices[rank] == "cpu":
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    try:
        with full_disk("--out", parts.parent):
            run = load_run(folder)
            run.method.to(options.devices[rank])
            for block in blocks:
                _fill(run, _Sources(sources), parts, options, [block], lambda _: None)
                answers.put(block[1] - block[0])
        answers.put(None)
    except InputError as error:
        answers.put(str(error))
