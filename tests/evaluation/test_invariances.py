"""What must not change a score: names of items, polarity of bits, copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.evaluation import RetrievalProtocol, evaluate

PROTOCOL = RetrievalProtocol(cutoffs=(1, 2, 5, 30))
SEEDS = st.integers(0, 2**32 - 1)


def scores_of(*case):
    return evaluate(*case, PROTOCOL, kernel="numpy").scores


def random_case(seed: int):
    random = np.random.default_rng(seed)
    q, g, bits = random.integers(1, 6), random.integers(1, 20), random.integers(1, 70)
    multi = random.random() < 0.5
    draw = (lambda n: random.random((n, 4)) < 0.4) if multi else (lambda n: random.integers(-2, 2, n))
    return random, random.random((q, bits)) < 0.5, random.random((g, bits)) < 0.3, draw(q), draw(g)


def approximately(scores):
    close = {name: pytest.approx(value, abs=1e-12) for name, value in scores.items() if value is not None}
    return {**scores, **close}


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_order_of_queries_and_gallery_does_not_matter(seed: int) -> None:
    random, queries, gallery, query_labels, gallery_labels = random_case(seed)
    expected = scores_of(BinaryCodes(queries), BinaryCodes(gallery), query_labels, gallery_labels)
    a, b = random.permutation(len(queries)), random.permutation(len(gallery))
    got = scores_of(BinaryCodes(queries[a]), BinaryCodes(gallery[b]), query_labels[a], gallery_labels[b])
    assert got == approximately(expected)


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_flipping_or_reordering_bits_everywhere_does_not_matter(seed: int) -> None:
    random, queries, gallery, *labels = random_case(seed)
    expected = scores_of(BinaryCodes(queries), BinaryCodes(gallery), *labels)
    mask, order = random.random(queries.shape[1]) < 0.5, random.permutation(queries.shape[1])
    got = scores_of(BinaryCodes((queries ^ mask)[:, order]), BinaryCodes((gallery ^ mask)[:, order]), *labels)
    assert got == expected


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(2, 4))
def test_copies_of_the_gallery_keep_shares_at_proportional_ranks(seed: int, copies: int) -> None:
    _, queries, gallery, query_labels, gallery_labels = random_case(seed)
    case = BinaryCodes(queries), BinaryCodes(gallery), query_labels, gallery_labels
    once = evaluate(*case, RetrievalProtocol(cutoffs=(1, 3)), kernel="numpy").scores
    many = evaluate(
        BinaryCodes(queries),
        BinaryCodes(np.repeat(gallery, copies, axis=0)),
        query_labels,
        np.repeat(gallery_labels, copies, axis=0),
        RetrievalProtocol(cutoffs=(copies, 3 * copies)),
        kernel="numpy",
    ).scores
    names = ("precision_at", "recall_at")
    expected = {f"{name}_{k * copies}": once[f"{name}_{k}"] for name in names for k in (1, 3)}
    expected["precision_hamming_radius_2"] = once["precision_hamming_radius_2"]
    assert {name: many[name] for name in expected} == approximately(expected)


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_copies_of_the_queries_do_not_matter(seed: int) -> None:
    _, queries, gallery, query_labels, gallery_labels = random_case(seed)
    expected = scores_of(BinaryCodes(queries), BinaryCodes(gallery), query_labels, gallery_labels)
    twice = np.concatenate([queries, queries]), np.concatenate([query_labels, query_labels])
    got = scores_of(BinaryCodes(twice[0]), BinaryCodes(gallery), twice[1], gallery_labels)
    counts = {name: 2 * expected[name] for name in ("n_queries", "n_queries_without_relevant")}
    assert got == approximately({**expected, **counts})


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_scores_are_ordered_and_lie_between_0_and_1(seed: int) -> None:
    _, queries, gallery, *labels = random_case(seed)
    scores = scores_of(BinaryCodes(queries), BinaryCodes(gallery), *labels)
    if scores["map"] is None:
        assert scores["n_queries_without_relevant"] == scores["n_queries"]
        return
    assert 0 < scores["map_worst_ties"] <= scores["map"] + 1e-12
    assert scores["map"] <= scores["map_best_ties"] + 1e-12
    assert all(0 <= value <= 1 for name, value in scores.items() if "_at_" in name or "map" in name)
    assert scores["recall_at_1"] <= scores["recall_at_30"] + 1e-12
    assert scores["map_at_30"] == pytest.approx(scores["map"], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_one_hot_labels_score_like_integers(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 20)
    codes = random.random((20, 9)) < 0.5
    case = BinaryCodes(codes[:5]), BinaryCodes(codes[5:])
    expected = scores_of(*case, labels[:5], labels[5:])
    one_hot = np.eye(4)[labels]
    assert scores_of(*case, one_hot[:5], one_hot[5:]) == expected


def test_bits_as_vectors_rank_as_hamming_distance_does() -> None:
    random = np.random.default_rng(5)
    codes, labels = random.random((60, 16)) < 0.5, random.integers(4, size=60)
    signs = np.where(codes, 1.0, -1.0)
    expected = scores_of(BinaryCodes(codes[:9]), BinaryCodes(codes[9:]), labels[:9], labels[9:])
    words = codes.reshape(60, 4, 4) @ (1 << np.arange(4))
    books = np.broadcast_to(np.where(np.arange(16)[:, None] >> np.arange(4) & 1, 1.0, -1.0), (4, 16, 4))
    galleries = [RealCodes(signs[9:], similarity) for similarity in ("dot", "l2", "cosine")]
    galleries += [QuantizedCodes(words[9:], books, "product", similarity) for similarity in ("dot", "l2")]
    for gallery in galleries:
        got = scores_of(RealCodes(signs[:9]), gallery, labels[:9], labels[9:])
        assert {**got, "bits": 16, "precision_hamming_radius_2": 0} == approximately(
            {**expected, "precision_hamming_radius_2": 0}
        )
