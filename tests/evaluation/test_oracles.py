"""Agreement with other people's average precision where there are no ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fghash.codes import BinaryCodes, RealCodes
from fghash.evaluation import RetrievalProtocol, evaluate, scores_by_query


def tie_free(seed: int, q: int = 6, g: int = 40):
    """Binary codes and labels: gallery items with 0, 1, 2 ... ones, in any order, and queries of zeros."""
    random = np.random.default_rng(seed)
    relevant = random.integers(0, 3, q), random.integers(0, 3, g)
    steps = np.tri(g, g - 1, -1, dtype=bool)[random.permutation(g)]
    queries = np.zeros((q, g - 1), dtype=bool)
    return queries, steps, *relevant


@pytest.mark.parametrize("seed", range(5))
def test_sklearn_agrees_on_binary_codes_without_ties(seed: int) -> None:
    queries, gallery, query_labels, gallery_labels = tie_free(seed)
    groups = evaluate(BinaryCodes(queries), BinaryCodes(gallery), query_labels, gallery_labels).groups
    assert groups.size.max() == 1
    got = scores_by_query(groups, RetrievalProtocol())
    for i, label in enumerate(query_labels):
        expected = average_precision_score(gallery_labels == label, -gallery.sum(axis=1).astype(float))
        for name in ("map", "map_best_ties", "map_worst_ties"):
            assert got[name][i] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_sklearn_agrees_on_real_codes_and_multi_hot_labels(similarity: str) -> None:
    random = np.random.default_rng(11)
    queries, gallery = random.standard_normal((6, 8)), random.standard_normal((90, 8))
    labels = random.random((6, 5)) < 0.3, random.random((90, 5)) < 0.3
    labels[0][0] = [True, False, True, False, False]
    groups = evaluate(RealCodes(queries), RealCodes(gallery, similarity), *labels).groups
    got = scores_by_query(groups, RetrievalProtocol())["map"]
    for i in range(6):
        products = gallery @ queries[i]
        score = {
            "dot": products,
            "cosine": products / np.linalg.norm(gallery, axis=1),
            "l2": -np.square(gallery - queries[i]).sum(axis=1),
        }[similarity]
        relevant = (labels[1] & labels[0][i]).any(axis=1)
        if relevant.any():
            assert got[i] == pytest.approx(average_precision_score(relevant, score), abs=1e-9)


def test_torchmetrics_agrees_when_fed_positive_scores_without_ties() -> None:
    import torch
    from torchmetrics.retrieval import RetrievalMAP, RetrievalPrecision, RetrievalRecall

    queries, gallery, query_labels, gallery_labels = tie_free(3)
    q, g = len(queries), len(gallery)
    nearness = torch.from_numpy(1.0 / (1.0 + gallery.sum(axis=1))).repeat(q)
    target = torch.from_numpy(query_labels[:, None] == gallery_labels).flatten()
    of_query = torch.arange(q).repeat_interleave(g)
    case = BinaryCodes(queries), BinaryCodes(gallery), query_labels, gallery_labels
    ours = evaluate(*case, RetrievalProtocol(cutoffs=(7,))).scores
    theirs = {
        "map": RetrievalMAP(),
        "precision_at_7": RetrievalPrecision(top_k=7),
        "recall_at_7": RetrievalRecall(top_k=7),
    }
    for name, metric in theirs.items():
        assert ours[name] == pytest.approx(float(metric(nearness, target, indexes=of_query)), abs=1e-6)
    convention = evaluate(*case, RetrievalProtocol(cutoffs=(7,), convention="torchmetrics")).scores
    at_7 = RetrievalMAP(top_k=7)(nearness, target, indexes=of_query)
    assert convention["map_at_7"] == pytest.approx(float(at_7), abs=1e-6)
