"""Scores of codes that lie in files, made by any code base (see :mod:`fghash.codes.archives` for the format).

``evaluate_files(gallery, queries, protocol)`` is the body of ``fghash evaluate``; it never imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fghash.codes import load_codes
from fghash.errors import InputError
from fghash.evaluation.evaluator import Evaluation, convention_table, evaluate
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.files import replacing


def evaluate_files(
    gallery: str | Path,
    queries: str | Path,
    protocol: RetrievalProtocol | None = None,
    *,
    memory: int | None = None,
    progress: bool = False,
    threads: int | None = None,
    kernel: str = "auto",
    device: str | None = None,
) -> Evaluation:
    """Score the ranking of the codes in one ``.npz`` for each of the queries in another.

    Raises:
        InputError: a file that cannot be read, or contents that do not fit (the message names the file).
    """
    gallery_codes, gallery_labels = load_codes(gallery)
    query_codes, query_labels = load_codes(queries)
    labels = query_labels, gallery_labels
    settings: dict[str, Any] = {"memory": memory, "progress": progress, "threads": threads}
    settings |= {"kernel": kernel, "device": device}
    try:
        return evaluate(query_codes, gallery_codes, *labels, protocol, **settings)
    except InputError as error:
        raise InputError(f"{queries} against {gallery}: {error}") from None


def convention_table_files(
    gallery: str | Path,
    queries: str | Path,
    cutoffs: tuple[int, ...] = (1, 10, 100),
    *,
    memory: int | None = None,
    progress: bool = False,
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """What every convention makes of the codes in two files, a row each (see :func:`convention_table`).

    Raises:
        InputError: as :func:`evaluate_files`.
    """
    gallery_codes, gallery_labels = load_codes(gallery)
    query_codes, query_labels = load_codes(queries)
    labels = query_labels, gallery_labels
    settings: dict[str, Any] = {"memory": memory, "progress": progress, "threads": threads}
    try:
        return convention_table(query_codes, gallery_codes, *labels, cutoffs, **settings)
    except InputError as error:
        raise InputError(f"{queries} against {gallery}: {error}") from None


def report(evaluation: Evaluation) -> dict[str, Any]:
    """What ``out.json`` holds at its top level: every score, and the name of the protocol."""
    return {**evaluation.scores, "protocol": evaluation.protocol.name}


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, all or nothing.

    Raises:
        InputError: the file cannot be written there.
    """
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    with replacing(path, "--json") as temporary:
        temporary.write_text(text, encoding="utf-8")
