"""The torchmetrics.Metric: batches and processes give the scores of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from fghash.codes import BinaryCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation import RetrievalProtocol, evaluate

PROTOCOL = RetrievalProtocol(cutoffs=(1, 5))


def outputs_and_labels():
    random = np.random.default_rng(2)
    labels = random.integers(4, size=37)
    return random.standard_normal((37, 12)).astype(np.float32) + labels[:, None] / 3, labels


def expected(kind: str):
    outputs, labels = outputs_and_labels()
    codes = BinaryCodes.from_signs(outputs) if kind == "binary" else RealCodes(outputs)
    return evaluate(
        codes.take(slice(0, 7)), codes.take(slice(7, None)), labels[:7], labels[7:], PROTOCOL
    ).scores


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_batches_give_the_scores_of_the_whole(kind: str) -> None:
    torch = pytest.importorskip("torch")
    from fghash.evaluation.metric import RetrievalScores

    outputs, labels = (torch.from_numpy(part) for part in outputs_and_labels())
    metric = RetrievalScores(codes=kind, cutoffs=(1, 5))
    for start in range(7, 37, 8):
        metric.update(outputs[start : start + 8], labels[start : start + 8], split="gallery")
    metric.update(outputs[:7], labels[:7], "query")
    assert metric.compute() == expected(kind)
    metric.reset()
    with pytest.raises(InputError, match="query: no batch was added"):
        metric.compute()


def test_items_that_come_twice_count_once() -> None:
    torch = pytest.importorskip("torch")
    from fghash.evaluation.metric import RetrievalScores

    outputs, labels = (torch.from_numpy(part) for part in outputs_and_labels())
    metric = RetrievalScores(cutoffs=(1, 5))
    order = torch.tensor([*reversed(range(7, 37)), 7, 8, 30])
    metric.update(outputs[order], labels[order], "gallery", index=order)
    metric.update(outputs[:7], labels[:7], "query", index=torch.arange(7))
    assert metric.compute() == expected("binary")


def test_bad_batches_are_refused() -> None:
    torch = pytest.importorskip("torch")
    from fghash.evaluation.metric import RetrievalScores

    metric = RetrievalScores()
    with pytest.raises(InputError, match="split: 'test', expected query or gallery"):
        metric.update(torch.zeros(2, 3), torch.zeros(2), "test")
    with pytest.raises(InputError, match="labels: 1 for 2 outputs"):
        metric.update(torch.zeros(2, 3), torch.zeros(1), "query")
    with pytest.raises(InputError, match="outputs: not finite"):
        metric.update(torch.full((2, 3), torch.nan), torch.zeros(2), "query")
    with pytest.raises(InputError, match="index: 1 for 2 outputs"):
        metric.update(torch.zeros(2, 3), torch.zeros(2), "query", index=torch.zeros(1))
    with pytest.raises(InputError, match="similarity: 'l1', expected one of cosine, dot, l2"):
        RetrievalScores(codes="real", similarity="l1")
    with pytest.raises(InputError, match="codes: 'pq', expected binary or real"):
        RetrievalScores(codes="pq")
