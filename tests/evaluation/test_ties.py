"""Every score against the enumeration of all tie orders, in exact fractions, over thousands of tiny cases."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import reference
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.evaluation import RetrievalProtocol, evaluate, scores_by_query
from fghash.evaluation.metrics import average_precision, harmonic_gap

CUTOFFS = (1, 2, 3, 4, 6, 9)
KERNELS = ("numba", "numpy")


def random_labels(random: np.random.Generator, n: int, multi: bool) -> np.ndarray:
    return random.random((n, 3)) < 0.35 if multi else random.integers(-1, 2, n)


def random_case(random: np.random.Generator, kind: str, q: int, g: int):
    """Codes with many ties, and the (q, g) distances between them computed one by one."""
    if kind == "binary":
        bits = int(random.integers(1, 4))
        queries, gallery = random.random((q, bits)) < 0.5, random.random((g, bits)) < 0.5
        distances = [[reference.hamming(x, y) for y in gallery] for x in queries]
        return BinaryCodes(queries), BinaryCodes(gallery), distances
    similarity = str(random.choice(["dot", "l2"]))
    if kind == "real":
        vectors, gallery = (
            random.integers(-2, 3, (q, 2)),
            RealCodes(random.integers(-2, 3, (g, 2)), similarity),
        )
        decoded = gallery.vectors
    else:
        books = random.integers(-2, 3, (2, 2, 2))
        gallery = QuantizedCodes(random.integers(0, 2, (g, 2)), books, kind, similarity)
        vectors, decoded = random.integers(-2, 3, (q, gallery.dimensions)), gallery.decode()
    if similarity == "dot":
        distances = [[-int(x @ y) for y in decoded] for x in vectors]
    else:
        distances = [[int(((x - y) ** 2).sum()) for y in decoded] for x in vectors]
    return RealCodes(vectors), gallery, distances


def expected_scores(distances: list[float], relevant: list[bool]) -> dict[str, Fraction]:
    everything = list(reference.rankings(distances, relevant))
    whole = reference.over_ties(reference.average_precision, everything)
    scores = {"map": whole["expected"], "map_best_ties": whole["best"], "map_worst_ties": whole["worst"]}
    for k in CUTOFFS:
        for name, score in (
            ("map", lambda ranking, k=k: reference.average_precision(ranking, k)),
            ("precision", lambda ranking, k=k: reference.precision(ranking, k)),
            ("recall", lambda ranking, k=k: reference.recall(ranking, k)),
        ):
            scores[f"{name}_at_{k}"] = reference.over_ties(score, everything)["expected"]
    return scores


@pytest.mark.parametrize("kind", ["binary", "product", "additive", "real"])
@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
def test_scores_equal_the_enumeration_of_all_tie_orders(kind: str, multi: bool) -> None:
    random = np.random.default_rng([len(kind), multi])
    lonely = 0
    for trial in range(60):
        q, g = 6, int(random.integers(1, 8))
        queries, gallery, distances = random_case(random, kind, q, g)
        labels = random_labels(random, q, multi), random_labels(random, g, multi)
        protocol = RetrievalProtocol(cutoffs=CUTOFFS, radius=1)
        evaluation = evaluate(queries, gallery, *labels, protocol, kernel=KERNELS[trial % 2])
        scores = scores_by_query(evaluation.groups, protocol)
        for i in range(q):
            relevant = [reference.is_relevant(labels[0][i], other) for other in labels[1]]
            if not any(relevant):
                lonely += 1
                assert all(np.isnan(values[i]) for values in scores.values())
                continue
            expected = expected_scores(distances[i], relevant)
            if kind == "binary":
                within = [r for r, d in zip(relevant, distances[i], strict=True) if d <= 1]
                expected["precision_hamming_radius_1"] = Fraction(sum(within), max(1, len(within)))
            assert set(scores) == set(expected)
            for name, value in expected.items():
                assert scores[name][i] == pytest.approx(float(value), abs=1e-13), (
                    name,
                    distances[i],
                    relevant,
                )
    assert lonely > 10


@pytest.mark.parametrize("divisor", ["min", "relevant", "hits"])
def test_every_divisor_equals_the_enumeration_with_its_best_and_worst(divisor: str) -> None:
    random = np.random.default_rng(7)
    checked = 0
    for _ in range(60):
        q, g = 4, int(random.integers(1, 9))
        queries, gallery, distances = random_case(random, "binary", q, g)
        labels = random_labels(random, q, False), random_labels(random, g, False)
        groups = evaluate(queries, gallery, *labels, kernel="numpy").groups
        computed = {
            (k, ties): average_precision(groups, k, ties, divisor)
            for k in (None, *CUTOFFS)
            for ties in ("expected", "best", "worst")
        }
        for i in range(q):
            relevant = [bool(labels[0][i] == other) for other in labels[1]]
            if not any(relevant):
                continue
            everything = list(reference.rankings(distances[i], relevant))
            for k in (None, *CUTOFFS):
                expected = reference.over_ties(
                    lambda ranking, k=k: reference.average_precision(ranking, k, divisor), everything
                )
                for ties, value in expected.items():
                    checked += 1
                    got = computed[k, ties][i]
                    assert got == pytest.approx(float(value), abs=1e-13), (k, ties, distances[i], relevant)
    assert checked > 2000


def test_means_leave_out_queries_without_relevant_items() -> None:
    bits = np.array([[0, 0], [0, 1], [1, 1]], dtype=bool)
    scores = evaluate(BinaryCodes(bits), BinaryCodes(bits), [0, 1, 9], [0, 1, 1]).scores
    second = (1 + (2 / 2 + 2 / 3) / 2) / 2  # its other relevant item ties with the irrelevant one
    assert scores["map"] == pytest.approx((1 + second) / 2)
    assert (scores["n_queries"], scores["n_queries_without_relevant"]) == (3, 1)


def test_nothing_within_the_radius_counts_zero() -> None:
    queries, gallery = np.zeros((1, 8), bool), np.ones((3, 8), bool)
    scores = evaluate(BinaryCodes(queries), BinaryCodes(gallery), [1], [1, 1, 2]).scores
    assert scores["precision_hamming_radius_2"] == 0.0
    assert scores["map"] > 0


def test_all_items_equal_gives_the_share_of_relevant_items() -> None:
    ones = BinaryCodes(np.ones((40, 12), bool))
    labels = np.arange(40) % 4
    scores = evaluate(ones, ones, labels, labels, RetrievalProtocol(cutoffs=(7, 50))).scores
    assert scores["precision_at_7"] == pytest.approx(0.25)
    assert scores["recall_at_7"] == pytest.approx(7 / 40)
    assert scores["precision_at_50"] == pytest.approx(10 / 50)
    assert scores["recall_at_50"] == 1.0
    assert scores["precision_hamming_radius_2"] == pytest.approx(0.25)
    assert scores["map_best_ties"] == 1.0
    assert scores["map_worst_ties"] == pytest.approx(np.mean([i / (30 + i) for i in range(1, 11)]))


@pytest.mark.parametrize("start", [0, 1, 5, 62, 63, 64, 65, 127, 1000, 10**7])
@pytest.mark.parametrize("length", [0, 1, 2, 63, 64, 65, 200])
def test_harmonic_gaps_are_exact_to_the_last_digits(start: int, length: int) -> None:
    exact = sum((Fraction(1, start + i) for i in range(1, length + 1)), Fraction(0))
    got = harmonic_gap(np.array([start]), np.array([length]))[0]
    assert got == pytest.approx(float(exact), rel=4e-15, abs=4e-15)
    beyond = harmonic_gap(np.array([start, 10**8]), np.array([length, 1]))[0]  # without a table
    assert beyond == pytest.approx(float(exact), rel=4e-15, abs=0)
