"""HashNet: the loss against plain loops, the continuation against the official formula, and its pitfalls."""

import math

import numpy as np
import pytest
import torch

from fghash.batch import Batch
from fghash.codes import BinaryCodes, RealCodes
from fghash.methods.hashnet import HashNet, beta_at, pairwise_loss
from fghash.settings.config import BackboneConfig, OptimConfig
from tiny_training import seen


def loop_loss(g, similar, alpha, pairs, class_num):
    """The weighted likelihood, one pair at a time."""
    n = len(g)
    costs = {True: [], False: []}
    for i in range(n):
        for j in range(n):
            if (pairs == "all" and i == j) or (pairs == "cross" and not (i % 2 == 0 and j % 2 == 1)):
                continue
            x = alpha * sum(float(a) * float(b) for a, b in zip(g[i], g[j], strict=True))
            s = bool(similar[i][j])
            costs[s].append(math.log1p(math.exp(x)) - (x if s else 0.0))
    if class_num is None:
        return sum(sum(c) / len(c) for c in costs.values() if c)
    total = class_num * sum(costs[True]) + sum(costs[False])
    return total / (class_num * len(costs[True]) + len(costs[False]))


@pytest.mark.parametrize("pairs", ["all", "cross"])
@pytest.mark.parametrize("class_num", [None, 7.0])
@pytest.mark.parametrize("kind", ["integers", "multi-hot"])
def test_loss_equals_the_loop(pairs, class_num, kind):
    generator = torch.Generator().manual_seed(3)
    g = torch.tanh(torch.randn(9, 6, generator=generator, dtype=torch.float64)).float()
    labels = torch.randint(0, 3, (9,), generator=generator)
    similar = (labels[:, None] == labels[None]).tolist()
    if kind == "multi-hot":
        labels = torch.randint(0, 2, (9, 4), generator=generator)
        similar = [
            [any(a and b for a, b in zip(x, y, strict=True)) for y in labels.tolist()]
            for x in labels.tolist()
        ]
    expected = loop_loss(g.tolist(), similar, 0.3, pairs, class_num)
    found = pairwise_loss(g, labels, 0.3, pairs=pairs, class_num=class_num)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5]])
@pytest.mark.parametrize("class_num", [None, 100.0])
def test_a_batch_without_one_kind_of_pair_is_finite_and_has_a_gradient(labels, class_num):
    g = torch.randn(4, 8, requires_grad=True)
    loss = pairwise_loss(g, torch.tensor(labels), 0.5, class_num=class_num)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(g.grad).all()
    assert g.grad.abs().sum() > 0


def test_self_pairs_do_not_count():
    """With all-different labels there is no similar pair, so moving an item along itself is never
    rewarded.
    """
    g = torch.eye(3) * 5
    assert float(pairwise_loss(g, torch.arange(3), 1.0)) == pytest.approx(math.log(2), rel=1e-6)


def test_continuation_follows_the_official_formula():
    for step in (0, 199, 200, 999, 1000, 2000, 5000, 9999):
        assert beta_at("code", step, 10_000) == pytest.approx((1 + 0.005 * (step // 200) * 200) ** 0.5)
    assert beta_at("progress", 50, 100) == beta_at("code", 5000, 10_000)
    assert beta_at("none", 50, 100) == 1.0
    stages = [beta_at("stages", step, 100, stages=10, beta_max=8.0) for step in range(100)]
    assert stages[0] == 1.0
    assert stages[-1] == pytest.approx(8.0)
    assert len(set(stages)) == 10
    assert stages == sorted(stages)


@pytest.fixture(scope="module")
def method():
    from fghash.backbone import Backbone

    torch.manual_seed(0)
    return HashNet(Backbone(BackboneConfig("test_resnet")), 4, 12, OptimConfig()).eval()


def test_codes_are_the_signs_of_z_and_the_embedding_is_tanh(method):
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        features = seen(method, images)
        z = method(features)
        codes, embedding = method.encode(features), method.embed(features)
    assert isinstance(codes, BinaryCodes)
    assert np.array_equal(codes.bits, (z >= 0).numpy())
    assert isinstance(embedding, RealCodes)
    assert np.allclose(embedding.vectors, torch.tanh(z).numpy(), atol=1e-6)


def test_zero_is_a_one_bit_never_a_third_symbol():
    assert BinaryCodes.from_signs(torch.tensor([[0.0, -0.0, -1.0, 1.0]])).bits.tolist() == [
        [True, True, False, True]
    ]


def test_the_loss_of_a_batch_uses_beta(method):
    batch = Batch(torch.rand(4, 3, 32, 32), torch.tensor([0, 0, 1, 1]), torch.arange(4))
    batch = method.read(batch)
    with torch.no_grad():
        flat = float(method.loss(batch)["pairwise"])
        method.beta.fill_(50.0)
        sharp = float(method.loss(batch)["pairwise"])
        method.beta.fill_(1.0)
    assert flat != sharp
