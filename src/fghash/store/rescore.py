"""Score stored codes again, under another protocol: no training, no images, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.evaluation import RetrievalProtocol, evaluate
from fghash.store.record import Record
from fghash.store.run_folder import RunFolder

UNCHANGED = (
    "map_real",
    "map_within_family",
)  # scores of other codes than the stored ones; no cutoff changes them


def rescore(
    path: Path,
    protocol: RetrievalProtocol,
    *,
    memory: int | None = None,
    progress: bool = False,
    threads: int | None = None,
    kernel: str = "auto",
    device: str | None = None,
) -> list[Record]:
    """Score a stored run's codes under another protocol (new cutoffs, say), without training.

    The keywords are those of :func:`fghash.evaluation.evaluate`.

    Raises:
        InputError: ``path`` is not the folder of a finished run.
    """
    folder = RunFolder(path)
    earlier = {(record.bits, record.gallery_codes): record for record in folder.records()}
    if not earlier:
        raise InputError(
            f"run: {path} is not the folder of a finished run (runs/<data>/<method>/<bits>/<run id>)"
        )
    work: dict[str, Any] = {"memory": memory, "progress": progress, "threads": threads}
    work |= {"kernel": kernel, "device": device}
    records = [_rescored(folder, record, protocol, work) for record in earlier.values()]
    for record in records:
        folder.write_record(record)
    folder.finish(protocol.name)
    return records


def _rescored(
    folder: RunFolder, record: Record, protocol: RetrievalProtocol, work: Mapping[str, Any]
) -> Record:
    gallery, gallery_labels = folder.read_codes(record.bits, record.gallery_codes, "gallery")
    queries, query_labels = folder.read_codes(record.bits, record.gallery_codes, "queries")
    result = evaluate(queries, gallery, query_labels, gallery_labels, protocol, **work)
    unchanged = {name: record.scores[name] for name in UNCHANGED if name in record.scores}
    scores = {key: value for key, value in result.scores.items() if key not in ("bits", "protocol")}
    return replace(record, protocol=protocol.name, scores={**scores, **unchanged})
