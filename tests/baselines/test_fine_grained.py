"""FISH, A2-Net and SEMICON: their own parts against loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from fghash_baselines.deep import a2net, fish, semicon

from fghash.batch import Batch, Features
from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.registry import METHODS
from tiny_training import tiny_method

GENERATOR = torch.Generator().manual_seed(4)


@pytest.mark.parametrize(("classes", "bits"), [(5, 16), (20, 12)])
def test_fishs_codes_are_the_same_within_a_class_and_differ_between_classes(classes, bits):
    labels = torch.arange(60) % classes
    codes = fish.codes_of_labels(torch.nn.functional.one_hot(labels, classes).double(), bits, seed=0)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    within, between = [], []
    for i, j in itertools.combinations(range(60), 2):
        (within if labels[i] == labels[j] else between).append(int((codes[i] != codes[j]).sum()))
    assert max(within) == 0
    assert np.mean(between) > bits / 4


def test_fishs_filters_are_loops():
    maps = torch.rand(2, 3, 2, 2, generator=GENERATOR)
    thresholds = torch.tensor([0.5, 0.99])
    weights, erased = fish.strong_places(maps, 0.5), fish.without_strongest(maps, thresholds)
    for item in range(2):
        sums = {(y, x): sum(maps[item, c, y, x].item() for c in range(3)) for y in range(2) for x in range(2)}
        mean, highest = np.mean(list(sums.values())), max(sums.values())
        for (y, x), value in sums.items():
            assert weights[item, 0, y, x] == (1 if value > mean else 0.5)
            kept = value < thresholds[item].item() * highest
            assert torch.equal(erased[item, :, y, x], maps[item, :, y, x] * kept)
    scores = torch.tensor([[1.0, 3.0, -2.0]])
    assert torch.allclose(fish.filtered_scores(scores, 0.7), torch.tensor([[0.7, 3.0, -1.4]]))


def test_fishs_loss_is_made_of_its_parts_and_its_gallery_codes_are_those_of_the_labels():
    method = tiny_method(fish.FISH, bits=8, erase_weight=0.5, code_weight=2.0).eval()
    assert method.learned_codes() is None
    method.train_sampler(np.arange(6) % 3)
    assert isinstance(method.learned_codes(), BinaryCodes)
    assert np.array_equal(method.learned_codes().bits, method.codes.numpy() > 0)
    batch = method.read(Batch(torch.randn(6, 3, 32, 32), torch.arange(6) % 3, torch.arange(6)))
    terms = method.loss(batch)
    values = method(batch.features)
    pairs = zip(values.flatten().tolist(), method.codes.flatten().tolist(), strict=True)
    assert float(terms["codes"]) == pytest.approx(2 * np.mean([(a - b) ** 2 for a, b in pairs]), rel=1e-4)
    logits = method.scores(batch.features.maps[4]).tolist()
    rows = zip(logits, [0, 1, 2] * 2, strict=True)
    costs = [math.log(sum(map(math.exp, row))) - row[label] for row, label in rows]
    assert float(terms["classification"]) == pytest.approx(np.mean(costs), rel=1e-4)
    assert set(terms) == {"classification", "erased", "codes"}


def test_fishs_thresholds_depend_on_seed_epoch_and_item_alone():
    first, second = (tiny_method(fish.FISH, bits=8) for _ in range(2))
    for method, count in ((first, 50), (second, 50)):
        method.train_sampler(np.arange(count) % 3)
    drawn = first.thresholds()
    second.on_train_epoch_start()
    assert torch.equal(drawn, second.thresholds())
    assert (drawn >= 0.9).all()
    assert (drawn <= 1).all()
    assert drawn.std() > 0.01


def test_decorrelation_is_a_loop():
    u = torch.randn(5, 3, generator=GENERATOR, dtype=torch.float64)
    total = 0.0
    for i, j in itertools.product(range(3), repeat=2):
        gram = sum(u[row, i].item() * u[row, j].item() for row in range(5))
        total += (gram - (5 if i == j else 0)) ** 2
    assert float(a2net.decorrelation(u)) == pytest.approx(total / 9 / 5 / 3)


def test_a2nets_reconstruction_is_the_transposed_way_back_and_comes_late():
    method = tiny_method(a2net.A2Net, bits=8, parts=2, late=0.0).eval()
    method.train_sampler(np.arange(6) % 3)
    method.on_train_epoch_start()
    batch = method.read(Batch(torch.randn(6, 3, 32, 32), torch.arange(6) % 3, torch.arange(6)))
    terms = method.loss(batch)
    vectors, w = method.vectors(batch.features).detach(), method.head.linear.weight.detach()
    costs = []
    for f in vectors:
        u = torch.stack([torch.tanh((row * f).sum()) for row in w])
        rebuilt = sum(value * row for value, row in zip(u, w, strict=True))
        costs.append(float((rebuilt - f).square().mean()))
    assert float(terms["reconstruction"]) == pytest.approx(np.mean(costs), rel=1e-3)
    assert not method.head.linear.bias.any()
    early = tiny_method(a2net.A2Net, bits=8, parts=2, late=1.0).eval()
    early.train_sampler(np.arange(6) % 3)
    early.on_train_epoch_start()
    assert set(early.loss(batch)) == {"similarity", "quantisation"}


def test_semicons_suppression_is_a_loop():
    found = torch.rand(2, 1, 2, 3, generator=GENERATOR)
    weights = semicon.suppression(found)
    for item in range(2):
        values = [math.exp(value) for value in found[item].flatten().tolist()]
        shares = [value / sum(values) for value in values]
        std = math.sqrt(sum((s - np.mean(shares)) ** 2 for s in shares) / (len(shares) - 1))
        expected = [2 - min(max((s - np.mean(shares)) / std**0.15 + 1, 0), 2) for s in shares]
        assert weights[item].flatten().tolist() == pytest.approx(expected, rel=1e-4)
    assert int(weights[0].flatten().argmin()) == int(found[0].flatten().argmax())


def test_channel_attention_is_a_loop():
    qkv = torch.randn(2, 3, 2, 3, 4, generator=GENERATOR, dtype=torch.float64)
    found = semicon.channel_attention(qkv)
    for b, g, c in itertools.product(range(2), range(2), range(3)):
        q, keys, values = qkv[b, 0, g, c], qkv[b, 1, g], qkv[b, 2, g]
        scores = [float((q * key).sum()) / math.sqrt(3) for key in keys]
        scores = [math.copysign(math.sqrt(abs(score) + 1e-5), score) for score in scores]
        weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
        expected = sum(weight * value for weight, value in zip(weights, values, strict=True))
        assert torch.allclose(found[b, g, c], expected)


@pytest.mark.parametrize("bits", [1, 5, 12, 16, 24, 32, 48, 64])
def test_semicons_bits_add_up(bits):
    of_whole, of_region = semicon.bits_of(bits)
    assert of_whole + 3 * of_region == bits
    method = tiny_method(semicon.SEMICON, bits=bits).eval()
    features = method.read(Batch(torch.randn(2, 3, 32, 32), torch.zeros(2), torch.arange(2))).features
    assert isinstance(features, Features)
    assert method(features).shape == (2, bits)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fish", {"weak": 2.0}), ("fish", {"rate": -1.0}), ("fish", {"erase_weight": -1.0}),
        ("fish", {"code_weight": -1.0}), ("a2net", {"parts": 0}), ("a2net", {"late": 2.0}),
        ("a2net", {"reconstruction_weight": -1.0}), ("semicon", {"subset": 0}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        tiny_method(METHODS[name].load(), **settings)
