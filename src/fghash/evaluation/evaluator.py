"""Codes and labels in, scores out: the one evaluator of every method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes, as_labels
from fghash.errors import InputError
from fghash.evaluation.conventions import CONVENTIONS, DIVISORS, OWN
from fghash.evaluation.group_scores import Scores, counts, means, scores_by_query, scores_from_groups
from fghash.evaluation.kernels.hamming import hamming_blocks
from fghash.evaluation.kernels.nearness import nearness_blocks
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.evaluation.ranking import Blocks, TieGroups, join_groups
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.stable import convention_scores
from fghash.evaluation.work import Work


@dataclass(frozen=True, eq=False)
class Evaluation:
    """``scores`` by name, and the tie ``groups`` from which any other cutoff can be scored."""

    scores: Scores
    groups: TieGroups
    protocol: RetrievalProtocol


def evaluate(
    queries: Codes,
    gallery: Codes,
    query_labels: Any,
    gallery_labels: Any,
    protocol: RetrievalProtocol | None = None,
    *,
    memory: int | None = None,
    progress: bool = False,
    threads: int | None = None,
    kernel: str = "auto",
    device: str | None = None,
) -> Evaluation:
    """Score the ranking of ``gallery`` for each of ``queries``.

    Queries are of the gallery's kind and length, or RealCodes against QuantizedCodes. Labels are (n,)
    integers or (n, classes) multi-hot, and an item is relevant if it shares a label. ``memory``: bytes of
    working arrays, about (default 256 MB). ``threads``: default all cores of this process. ``kernel``:
    ``numba``, ``numpy``, ``torch`` or ``auto``. ``device``: where torch counts (``cuda``). The scores do not
    depend on any of these.

    Raises:
        InputError: no items, codes or labels that do not fit one another, or values that are no codes or
            labels.
    """
    protocol = protocol or RetrievalProtocol()
    relevance = _checked(queries, gallery, as_labels(query_labels), as_labels(gallery_labels))
    work = Work.of(memory, threads, kernel, device, progress)
    blocks = _blocks(queries, gallery, relevance, work)
    if protocol.convention in OWN:
        groups, by_query = _scored(blocks, len(queries), protocol, work)
        return Evaluation(means(by_query, groups, protocol), groups, protocol)
    groups = _counted(blocks, len(queries), work)
    name, cutoffs = protocol.convention, protocol.cutoffs
    found = convention_scores([name], queries, gallery, relevance, cutoffs, work)
    return Evaluation({**found[name], **counts(groups)}, groups, protocol)


def _scored(
    blocks: Blocks, n_queries: int, protocol: RetrievalProtocol, work: Work
) -> tuple[TieGroups, dict[str, np.ndarray]]:
    """Count and score block by block, so that only the groups and one number a query and score remain."""

    def task(start: int, stop: int) -> tuple[TieGroups, dict[str, np.ndarray]]:
        groups = blocks.groups(start, stop)
        return replace(groups), scores_by_query(groups, protocol)  # the copy keeps nothing cached alive

    groups, scores = zip(*work.map(task, work.blocks(n_queries, blocks.bytes_a_query)), strict=True)
    return join_groups(groups), {name: np.concatenate([part[name] for part in scores]) for name in scores[0]}


def _counted(blocks: Blocks, n_queries: int, work: Work) -> TieGroups:
    """Count alone, where the scores are another's or come later."""
    return join_groups(work.map(blocks.groups, work.blocks(n_queries, blocks.bytes_a_query)))


def convention_table(
    queries: Codes,
    gallery: Codes,
    query_labels: Any,
    gallery_labels: Any,
    cutoffs: tuple[int, ...] = (1, 10, 100),
    *,
    memory: int | None = None,
    progress: bool = False,
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """``map`` and ``map_at_k`` of the same codes under every convention, a row each; ours first.

    Raises:
        InputError: as :func:`evaluate`.
    """
    protocol = RetrievalProtocol(cutoffs=cutoffs)
    relevance = _checked(queries, gallery, as_labels(query_labels), as_labels(gallery_labels))
    work = Work.of(memory, threads, progress=progress)
    groups = _counted(_blocks(queries, gallery, relevance, work), len(queries), work)
    others = convention_scores(list(CONVENTIONS), queries, gallery, relevance, protocol.cutoffs, work)
    rows: list[dict[str, Any]] = []
    for name, divisor in OWN.items():
        scores = scores_from_groups(groups, replace(protocol, convention=name))
        chosen = {key: value for key, value in scores.items() if key == "map" or key.startswith("map_at_")}
        rows.append(
            {"convention": name, **chosen, "summary": f"divides by {DIVISORS[divisor]}, expected over ties"}
        )
    for name, convention in CONVENTIONS.items():
        summary = f"{convention.source}: {convention.summary}"
        rows.append({"convention": name, **others[name], "summary": summary})
    return rows


def _blocks(queries: Codes, gallery: Codes, relevance: Relevance, work: Work) -> Blocks:
    if isinstance(queries, BinaryCodes) and isinstance(gallery, BinaryCodes):
        return hamming_blocks(queries, gallery, relevance, work)
    if isinstance(queries, RealCodes) and isinstance(gallery, (QuantizedCodes, RealCodes)):
        return nearness_blocks(queries, gallery, relevance, work)
    raise InputError(f"codes: queries are {_kind(queries)}, the gallery {_kind(gallery)}, {_EXPECTED}")


_EXPECTED = "expected both binary, both real, or real queries of a quantized gallery"


def _kind(codes: Codes) -> str:
    return type(codes).__name__


def _checked(
    queries: Codes, gallery: Codes, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Relevance:
    for name, codes, labels in (("queries", queries, query_labels), ("gallery", gallery, gallery_labels)):
        if len(codes) == 0:
            raise InputError(f"{name}: 0 items, expected at least 1")
        if len(codes) != len(labels):
            raise InputError(
                f"{name}: {len(labels)} labels for {len(codes)} codes, expected one label an item"
            )
    return Relevance.of(query_labels, gallery_labels)
