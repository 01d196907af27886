"""Losses of the trained baselines against plain loops over items, pairs, triplets and bits."""

import itertools
import math

import numpy as np
import pytest
import torch
from fghash_baselines.deep import csq, dch, dpn, dpsh, dsh, dtsh, greedyhash, hyp2, orthohash, pairs
from fghash_baselines.deep.centres import centres_of, hash_centres

from fghash.errors import InputError
from fghash.registry import METHODS
from tiny_training import tiny_method

GENERATOR = torch.Generator().manual_seed(4)
U = torch.randn(7, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])
HOT = torch.nn.functional.one_hot(LABELS, 4)
SEVERAL = HOT.clone()
SEVERAL[0, 1] = SEVERAL[3, 0] = SEVERAL[4, 2] = SEVERAL[6, 2] = 1
KINDS = {"classes": LABELS, "multi-hot": SEVERAL}


def alike(labels, i, j):
    if labels.ndim == 1:
        return bool(labels[i] == labels[j])
    return any(a and b for a, b in zip(labels[i].tolist(), labels[j].tolist(), strict=True))


def inner(a, b):
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def cosine(a, b):
    return inner(a, b) / math.sqrt(inner(a, a) * inner(b, b))


def ordered_pairs():
    return [(i, j) for i, j in itertools.product(range(len(U)), repeat=2) if i != j]


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


@pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
def test_dshs_contrastive_loss(labels):
    costs = []
    for i, j in ordered_pairs():
        distance = inner(U[i] - U[j], U[i] - U[j])
        costs.append(distance / 2 if alike(labels, i, j) else max(9.0 - distance, 0) / 2)
    assert float(dsh.contrastive(U, labels, 9.0)) == pytest.approx(np.mean(costs))
    assert float(dsh.to_one(U)) == pytest.approx(np.mean([abs(abs(x) - 1) for x in U.flatten().tolist()]))


@pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
def test_dpshs_likelihood(labels):
    costs = []
    for i, j in ordered_pairs():
        theta = inner(U[i], U[j]) / 2
        costs.append(softplus(theta) - alike(labels, i, j) * theta)
    assert float(dpsh.pair_likelihood(U, labels)) == pytest.approx(np.mean(costs))


@pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
def test_dtshs_triplets(labels):
    of_anchors = []
    for anchor in range(len(U)):
        costs = []
        for p, n in itertools.product(range(len(U)), repeat=2):
            if p != anchor and alike(labels, anchor, p) and not alike(labels, anchor, n):
                x = (inner(U[anchor], U[p]) - inner(U[anchor], U[n])) / 2 - 1.5
                costs.append(softplus(x) - x)
        if costs:
            of_anchors.append(np.mean(costs))
    assert 0 < len(of_anchors) < len(U) or labels.ndim > 1
    assert float(dtsh.triplet_likelihood(U, labels, 1.5)) == pytest.approx(np.mean(of_anchors))


@pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
def test_dchs_cauchy_losses(labels):
    gamma, bits = 3.0, U.shape[1]
    both = ordered_pairs()
    n_similar = sum(alike(labels, i, j) for i, j in both)
    total = 0.0
    for i, j in both:
        similar = alike(labels, i, j)
        distance = bits / 2 * (1 - cosine(U[i], U[j]))
        weight = len(both) / (n_similar if similar else len(both) - n_similar)
        total += weight * (similar * math.log(distance / gamma) + math.log(1 + gamma / distance))
    assert float(dch.cauchy_pairs(U, labels, gamma)) == pytest.approx(total / len(both))
    ones = torch.ones(bits)
    gaps = [math.log(1 + bits / 2 * (1 - cosine(row.abs(), ones)) / gamma) for row in U]
    assert float(dch.cauchy_quantisation(U, gamma)) == pytest.approx(np.mean(gaps))


def test_the_gaps_to_signs():
    values = U.flatten().tolist()
    signs = [1 if x >= 0 else -1 for x in values]
    squares = [(x - s) ** 2 for x, s in zip(values, signs, strict=True)]
    assert float(pairs.gap_to_signs(U)) == pytest.approx(np.mean(squares))
    assert float(pairs.gap_to_one(U)) == pytest.approx(np.mean([(abs(x) - 1) ** 2 for x in values]))
    assert float(greedyhash.cubic_gap(U)) == pytest.approx(np.mean([abs(abs(x) - 1) ** 3 for x in values]))
    assert float(pairs.gap_to_signs(torch.zeros(2, 2))) == 1


def test_dpns_hinge_on_bits():
    targets = torch.where(torch.rand(7, 5, generator=GENERATOR) < 0.5, 1.0, -1.0)
    costs = [
        max(1.2 - x * t, 0) for x, t in zip(U.flatten().tolist(), targets.flatten().tolist(), strict=True)
    ]
    assert float(dpn.polarisation(U, targets, 1.2)) == pytest.approx(np.mean(costs))


def test_csqs_cross_entropy_of_bits():
    u, targets = torch.tanh(U), torch.where(torch.rand(7, 5, generator=GENERATOR) < 0.5, 1.0, -1.0)
    costs = []
    for x, t in zip(u.flatten().tolist(), targets.flatten().tolist(), strict=True):
        costs.append(-math.log((1 + x) / 2) if t > 0 else -math.log(1 - (1 + x) / 2))
    assert float(csq.central_similarity(u, targets)) == pytest.approx(np.mean(costs))


def test_greedy_signs_pass_the_gradient():
    u = torch.tensor([[0.3, -2.0, 0.0]], requires_grad=True)
    signs = greedyhash.greedy_signs(u)
    assert signs.tolist() == [[1, -1, 1]]
    (signs * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert u.grad.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
def test_orthohashs_margin_cosine(labels):
    centres = torch.where(torch.rand(4, 5, generator=GENERATOR) < 0.5, 1.0, -1.0)
    hot = HOT if labels.ndim == 1 else labels
    costs = []
    for row, own in zip(U, hot.tolist(), strict=True):
        logits = [8.0 * (cosine(row, centre) - 0.2 * mine) for centre, mine in zip(centres, own, strict=True)]
        norm = math.log(sum(map(math.exp, logits)))
        costs.append(sum(mine / sum(own) * (norm - logit) for mine, logit in zip(own, logits, strict=True)))
    found = orthohash.margin_cosine(U, labels, centres, 8.0, 0.2)
    assert float(found) == pytest.approx(np.mean(costs))


def test_hyp2s_proxies_and_irrelevant_pairs():
    proxies = torch.randn(4, 5, generator=GENERATOR, dtype=torch.float64)
    hot = SEVERAL.bool()
    own, others = [], []
    for row, labels in zip(U, hot.tolist(), strict=True):
        for proxy, mine in zip(proxies, labels, strict=True):
            value = cosine(row, proxy)
            (own if mine else others).append(1 - value if mine else max(value - 0.1, 0))
    found = float(hyp2.proxy_loss(U, hot, proxies, 0.1))
    assert found == pytest.approx(np.mean(own) + np.mean(others))
    several = [i for i in range(len(U)) if sum(SEVERAL[i].tolist()) > 1]
    costs = []
    for i, j in itertools.product(several, repeat=2):
        if not alike(SEVERAL, i, j):
            costs.append(max(cosine(U[i], U[j]) + 0.5, 0))
    assert costs
    assert float(hyp2.irrelevant_pairs(U, hot, -0.5)) == pytest.approx(np.mean(costs))
    assert float(hyp2.irrelevant_pairs(U, HOT.bool(), 0.0)) == 0


@pytest.mark.parametrize(
    ("bits", "classes", "distance"), [(7, 16, 3), (8, 16, 4), (16, 32, 8), (24, 4096, 8)]
)
def test_the_threshold_is_that_of_well_known_codes(bits, classes, distance):
    """Hamming (7, 4), extended Hamming (8, 4), Reed-Muller (16, 5), extended Golay (24, 12)."""
    assert hyp2.code_threshold(bits, classes) == pytest.approx(1 - 2 * distance / bits)


@pytest.mark.parametrize(("bits", "classes"), [(16, 32), (32, 50)])
def test_hadamard_centres_are_half_the_bits_apart(bits, classes):
    centres = hash_centres(classes, bits, "hadamard")
    assert set(centres.unique().tolist()) == {-1.0, 1.0}
    for i, j in itertools.combinations(range(classes), 2):
        assert int((centres[i] != centres[j]).sum()) >= bits // 2


@pytest.mark.parametrize(
    ("bits", "classes", "kind"), [(12, 50, "hadamard"), (16, 40, "hadamard"), (24, 60, "random")]
)
def test_random_centres_are_balanced_and_spread(bits, classes, kind):
    torch.manual_seed(0)
    centres = hash_centres(classes, bits, kind)
    assert (centres.sum(1).abs() <= bits % 2).all()
    spread = [int((a != b).sum()) for a, b in itertools.combinations(centres, 2)]
    plain = torch.stack([centres[0][torch.randperm(bits)] for _ in range(classes)])
    drawn = [int((a != b).sum()) for a, b in itertools.combinations(plain, 2)]
    assert min(spread) >= min(drawn)
    assert min(spread) > 0


def test_the_centre_of_several_labels_is_the_majority():
    centres = torch.tensor([[1.0, 1, -1], [1, -1, -1], [-1, -1, 1]])
    assert centres_of(torch.tensor([2, 0]), centres).tolist() == [[-1, -1, 1], [1, 1, -1]]
    assert centres_of(torch.tensor([[1, 1, 0], [1, 1, 1]]), centres).tolist() == [[1, 1, -1], [1, -1, -1]]


def test_similar_pairs_leave_out_the_item_itself():
    similar, other = pairs.similar_and_other(LABELS)
    assert not (similar | other).diagonal().any()
    assert int((similar | other).sum()) == 7 * 6
    assert int(similar.sum()) == 3 * 2 + 2 * 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dsh", {"margin": 0.0}), ("dsh", {"alpha": -1.0}), ("dpsh", {"eta": -1.0}),
        ("dtsh", {"margin": -1.0}),
        ("dtsh", {"weight": -1.0}), ("dch", {"gamma": 0.0}), ("dch", {"weight": -1.0}),
        ("dpn", {"margin": 0.0}),
        ("csq", {"weight": -1.0}), ("csq", {"centres": "far"}), ("greedyhash", {"alpha": -1.0}),
        ("orthohash", {"scale": 0.0}), ("orthohash", {"margin": 3.0}), ("hyp2", {"threshold": 2.0}),
        ("hyp2", {"beta": -1.0}), ("real", {"scale": 0.0}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        tiny_method(METHODS[name].load(), **settings)
