"""From encoded splits to records: code lengths, learned codes, real embeddings, families."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fghash.codes import Codes
from fghash.encoding import EncodedSplit
from fghash.evaluation import RetrievalProtocol, TieGroups, evaluate

_TIMED = 200  # queries that are timed
_NOT_SCORES = ("bits", "protocol")


@dataclass(frozen=True)
class Galleries:
    """What is scored against the queries: network codes and, where training optimised some, learned codes."""

    queries: EncodedSplit
    gallery: EncodedSplit
    learned: Codes | None = None

    def kinds(self) -> Iterator[tuple[str, Codes]]:
        """``network`` and, if there are any, ``learned``, each with the codes of the whole gallery."""
        yield "network", self.gallery.codes
        if self.learned is not None:
            yield "learned", self.learned


@dataclass(frozen=True)
class Scored:
    """The scores of one kind of gallery codes at one length, with the codes that were compared."""

    bits: int
    gallery_codes: str
    queries: Codes
    gallery: Codes
    groups: TieGroups
    scores: dict[str, Any]


def score(
    encoded: Galleries,
    lengths: Sequence[int],
    protocol: RetrievalProtocol,
    families: np.ndarray | None = None,
) -> Iterator[Scored]:
    """Every code length of every kind of gallery codes.

    Args:
        encoded: both splits.
        lengths: the code lengths that the training gives; shorter ones are prefixes of the longest.
        protocol: cutoffs and conventions.
        families: of each class, for ``map_within_family``; ``None`` without families.
    """
    queries, gallery = encoded.queries, encoded.gallery
    real = real_scores(queries, gallery, protocol)
    for kind, codes in encoded.kinds():
        for bits in lengths:
            shorter = codes.prefix(bits) if bits != codes.bits_per_item else codes
            asked = query_prefix(queries.codes, shorter)
            result = evaluate(asked, shorter, queries.labels, gallery.labels, protocol)
            within = within_families(asked, shorter, queries.labels, gallery.labels, families, protocol)
            scores = {**result.scores, **real, **within}
            kept = {name: value for name, value in scores.items() if name not in _NOT_SCORES}
            yield Scored(bits, kind, asked, shorter, result.groups, kept)


def search_milliseconds(scored: Scored, query_labels: np.ndarray, gallery_labels: np.ndarray) -> float:
    """Time to rank the whole gallery for one query and score it, by the evaluator on one thread.

    The mean over the first queries; the codes have been scored before, so that nothing is compiled here.
    """
    some = np.arange(min(_TIMED, len(scored.queries)))
    began = time.perf_counter()
    evaluate(scored.queries.take(some), scored.gallery, query_labels[some], gallery_labels, threads=1)
    return round(1000 * (time.perf_counter() - began) / max(1, len(some)), 4)


def query_prefix(queries: Codes, gallery: Codes) -> Codes:
    """Queries of the gallery's kind at its length; real queries of a quantized gallery stay whole."""
    bits = gallery.bits_per_item
    same_kind = type(queries) is type(gallery)
    return queries.prefix(bits) if same_kind and queries.bits_per_item != bits else queries


def real_scores(queries: EncodedSplit, gallery: EncodedSplit, protocol: RetrievalProtocol) -> dict[str, Any]:
    """``map_real``: the mAP of the real embeddings, which shows the loss by coding; empty without them."""
    if queries.embedding is None or gallery.embedding is None:
        return {}
    result = evaluate(queries.embedding, gallery.embedding, queries.labels, gallery.labels, protocol)
    return {"map_real": result.scores["map"]}


def within_families(
    queries: Codes,
    gallery: Codes,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    families: np.ndarray | None,
    protocol: RetrievalProtocol,
) -> dict[str, Any]:
    """``map_within_family``: each query against the gallery items of its class's family only (fine detail
    alone); empty without families or with several labels an item.
    """
    if families is None or query_labels.ndim != 1:
        return {}
    parts: list[tuple[float, int]] = []
    for family in np.unique(families):
        asked = np.flatnonzero(families[query_labels] == family)
        stored = np.flatnonzero(families[gallery_labels] == family)
        if len(asked) and len(stored):
            scores = evaluate(
                queries.take(asked),
                gallery.take(stored),
                query_labels[asked],
                gallery_labels[stored],
                protocol,
            ).scores
            counted = int(scores["n_queries"] or 0) - int(scores["n_queries_without_relevant"] or 0)
            parts.append((float(scores["map"] or 0.0), counted))
    total = sum(count for _, count in parts)
    return {"map_within_family": sum(value * count for value, count in parts) / total if total else None}
