"""Encode any number of images into one file of codes.

Beside the file lies ``<name>.parts`` until it is complete: a manifest and one ``.npz`` for each block of
images. The same command goes on where it stopped; blocks are whole batches, so that the codes are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fghash.api import LoadedRun, class_names_of
from fghash.backbone import GIVEN
from fghash.codes import Codes, RealCodes, concatenate
from fghash.codes.archives import codes_of, load_arrays
from fghash.errors import InputError
from fghash.files import full_disk, replacing
from fghash.search.block_encoding import Block, EncodingJob, EncodingOptions, Tell, fill, part_path
from fghash.search.coded_items import CodedItems, load_items, remove_quietly, require_suffix, save_items
from fghash.search.encoding_processes import by_processes
from fghash.search.image_lists import ImageSource
from fghash.store.parsing import read_json


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
    parts = _parts(out)
    blocks = _blocks(len(sources), options.block)
    with full_disk("--out", out.parent):
        _begin(parts, _identity(run, sources, options))
        left = [block for block in blocks if not part_path(parts, block[0]).is_file()]
        before = len(sources) - sum(stop - start for start, stop in left)
        tell(before)
        _encode_blocks(EncodingJob(run, sources, parts, options), left, tell)
        items, skipped = _joined(run, sources, parts, blocks)
        save_items(out, items)
    shutil.rmtree(parts, ignore_errors=True)
    return EncodedFile(len(items), skipped, before)


def is_encoded(out: Path, run: LoadedRun, sources: Sequence[ImageSource], options: EncodingOptions) -> bool:
    """Whether ``out`` holds just this already; parts that a kill left behind are then deleted.

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
    remove_quietly(_parts(out))
    return True


def forget(out: Path) -> None:
    """Delete the file and its parts."""
    remove_quietly(out)
    remove_quietly(_parts(out))


def _parts(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


# -- blocks --------------------------------------------------------------------------------------------------


def _blocks(n: int, size: int) -> list[Block]:
    return [(start, min(start + size, n)) for start in range(0, n, size)]


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


def _encode_blocks(job: EncodingJob, blocks: Sequence[Block], tell: Tell) -> None:
    """By this process, or by one for each of several devices."""
    devices = job.options.devices
    if min(len(devices), len(blocks)) > 1:
        by_processes(job, blocks, tell)
    elif blocks:
        job.run.method.to(devices[0])
        fill(job, blocks, tell)


def _joined(
    run: LoadedRun, sources: Sequence[ImageSource], parts: Path, blocks: Sequence[Block]
) -> tuple[CodedItems, tuple[tuple[str, str], ...]]:
    """All parts as one, in order."""
    codes: list[Codes] = []
    vectors: list[RealCodes] = []
    kept: list[ImageSource] = []
    skipped: list[tuple[str, str]] = []
    for start, _ in blocks:
        arrays = load_arrays(part_path(parts, start))
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
