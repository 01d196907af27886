"""The codes that ``fghash evaluate`` scores: two files, or each kind of codes in a stored run; no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.stored import finished, groups_of

if TYPE_CHECKING:
    import numpy as np

    from fghash.codes import Codes
    from fghash.evaluation import Evaluation, RetrievalProtocol, TieGroups

    Scored = tuple[dict[str, Any], Callable[[], TieGroups]]  # scores and what they are about; tie groups
    Items = tuple[Codes, Codes, np.ndarray, np.ndarray]  # queries, gallery, query labels, gallery labels


def score(given: argparse.Namespace, protocol: RetrievalProtocol) -> Iterator[Scored]:
    """Scores of all codes that the flags name.

    A run keeps its new scores, except those under another convention, which no leaderboard mixes with ours.
    """
    if not given.run:
        yield _of_files(given, protocol)
    elif given.convention is None:
        yield from _rescored(given, protocol)
    else:
        yield from _of_run(given, protocol)


def tables(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """For all codes that the flags name, what they are (nothing for files) and a table ``conventions``."""
    from fghash.evaluation import convention_table, convention_table_files

    cutoffs, work = tuple(given.cutoffs), _work(given)
    if not given.run:
        yield {"conventions": convention_table_files(given.gallery, given.queries, cutoffs, **work)}
        return
    for about, codes in _stored_codes(given.run):
        yield {**about, "conventions": convention_table(*codes, cutoffs, **work)}


def _of_files(given: argparse.Namespace, protocol: RetrievalProtocol) -> Scored:
    from fghash.evaluation import evaluate_files, report

    result = evaluate_files(given.gallery, given.queries, protocol, **_work(given), **_kernel(given))
    return report(result), partial(_kept, result)


def _rescored(given: argparse.Namespace, protocol: RetrievalProtocol) -> Iterator[Scored]:
    from fghash.store.rescore import rescore

    for record in rescore(given.run, protocol, **_work(given), **_kernel(given)):
        about = {"bits": record.bits, "gallery_codes": record.gallery_codes, "protocol": record.protocol}
        groups = partial(groups_of, given.run, (record.bits, record.gallery_codes))
        yield {**record.scores, **about}, groups


def _of_run(given: argparse.Namespace, protocol: RetrievalProtocol) -> Iterator[Scored]:
    from fghash.evaluation import evaluate, report

    work = {**_work(given), **_kernel(given)}
    for about, codes in _stored_codes(given.run):
        result = evaluate(*codes, protocol, **work)
        yield {**report(result), **about}, partial(_kept, result)


def _kept(result: Evaluation) -> TieGroups:
    return result.groups


def _stored_codes(path: Path) -> Iterator[tuple[dict[str, Any], Items]]:
    """For each kind of codes in a run's folder, what it is and the codes with their labels."""
    from fghash.store import RunFolder

    folder = RunFolder(path)
    for bits, kind in finished(path):
        gallery, gallery_labels = folder.read_codes(bits, kind, "gallery")
        queries, query_labels = folder.read_codes(bits, kind, "queries")
        about = {"bits": bits, "gallery_codes": kind}
        yield about, (queries, gallery, query_labels, gallery_labels)


def _work(given: argparse.Namespace) -> dict[str, Any]:
    from fghash.evaluation import parse_memory

    memory = None if given.memory is None else parse_memory(given.memory)
    return {"memory": memory, "threads": given.threads, "progress": sys.stderr.isatty()}


def _kernel(given: argparse.Namespace) -> dict[str, Any]:
    return {"kernel": given.kernel or "auto", "device": given.device}
