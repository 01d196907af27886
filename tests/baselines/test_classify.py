"""Classification on tanh bits."""

import math

import pytest
import torch
from fghash_baselines import CLASSIFY
from fghash_baselines.deep.classify import Classify
from fghash_baselines.deep.pairs import cross_entropy, gap_to_one

from fghash.batch import Batch
from fghash.errors import InputError
from tiny_training import tiny_method


def loop_cross_entropy(logits, shares):
    total = 0.0
    for row, share in zip(logits.tolist(), shares, strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        total += sum(weight * (norm - value) for value, weight in zip(row, share, strict=True))
    return total / len(shares)


def test_the_entry_names_the_class():
    assert CLASSIFY.load() is Classify


def test_cross_entropy_of_classes_and_of_several_labels():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 1, 2])
    hot = torch.eye(4)[labels]
    expected = loop_cross_entropy(logits, hot.tolist())
    assert cross_entropy(logits, labels).item() == pytest.approx(expected)
    assert cross_entropy(logits, hot.byte()).item() == pytest.approx(expected)
    hot[0, 2] = 1
    shares = (hot / hot.sum(1, keepdim=True)).tolist()
    assert cross_entropy(logits, hot.byte()).item() == pytest.approx(loop_cross_entropy(logits, shares))
    assert cross_entropy(logits, torch.zeros(5, 4)).item() == 0


def test_quantisation_is_the_mean_distance_to_the_signs():
    assert gap_to_one(torch.tensor([[0.5, -1.0], [0.0, 1.0]])).item() == pytest.approx((0.25 + 0 + 1 + 0) / 4)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_its_loss_is_that_of_its_classifier(weight):
    method = tiny_method(Classify, bits=12, quantisation_weight=weight).eval()
    batch = method.read(Batch(torch.randn(6, 3, 32, 32), torch.arange(6) % 2, torch.arange(6)))
    u = method(batch.features)
    terms = method.loss(batch)
    assert torch.equal(terms["classification"], cross_entropy(method.classifier(u), batch.labels))
    assert ("quantisation" in terms) == (weight > 0)
    assert not weight or torch.equal(terms["quantisation"], 0.5 * gap_to_one(u))


@pytest.mark.parametrize("settings", [{"quantisation_weight": -1.0}, {"input_norm": "batch"}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        tiny_method(Classify, **settings)
