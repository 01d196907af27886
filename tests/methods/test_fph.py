"""FPH (reconstructed): fusion and loss against plain loops, its switches, any backbone."""

import math

import pytest
import torch

from fghash.backbone import Backbone
from fghash.batch import Batch
from fghash.errors import InputError
from fghash.layers.triplets import default_margin, triplet_loss
from fghash.methods.fph import FPH, ConsensusFusion, split_bits
from fghash.settings.config import BackboneConfig, OptimConfig
from tiny_training import tiny_method


def linear(layer, x):
    """W x + b, number by number."""
    weights, bias = layer.weight.tolist(), layer.bias.tolist()
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weights, bias, strict=True)]


def loop_fusion(fusion, layer, features):
    """z of one image from its three features, as the names say."""
    if fusion in ("gate", "mean"):
        votes = [
            [math.tanh(v) for v in linear(own, f)] for own, f in zip(layer.levels, features, strict=True)
        ]
        scores = [linear(layer.gate, f)[0] if fusion == "gate" else 0.0 for f in features]
        total = sum(math.exp(s) for s in scores)
        return [
            sum(math.exp(s) / total * vote[k] for s, vote in zip(scores, votes, strict=True))
            for k in range(len(votes[0]))
        ]
    joined = {
        "concat": [v for f in features for v in f],
        "max": [max(values) for values in zip(*features, strict=True)],
        "product": [a + b + c + a * b * c for a, b, c in zip(*features, strict=True)],
    }[fusion]
    return [math.tanh(v) for v in linear(layer.linear, joined)]


@pytest.mark.parametrize("fusion", ["gate", "mean", "concat", "max", "product"])
def test_fusion_equals_the_loop(fusion):
    torch.manual_seed(0)
    layer = ConsensusFusion(5, 4, fusion)
    features = torch.randn(3, 3, 5)
    z, votes = layer(features)
    assert (votes is None) == (fusion not in ("gate", "mean"))
    for i in range(3):
        expected = loop_fusion(fusion, layer, features[i].tolist())
        assert z[i].tolist() == pytest.approx(expected, abs=1e-5)


def test_bits_on_which_levels_agree_stay_large():
    torch.manual_seed(0)
    layer = ConsensusFusion(4, 2, "gate")
    for level, own in enumerate(layer.levels):
        own.weight.data.zero_()
        own.bias.data = torch.tensor([9.0, 9.0 if level else -9.0])
    layer.gate.weight.data.zero_()
    z, _ = layer(torch.randn(1, 3, 4))
    assert z[0].tolist() == pytest.approx([1.0, 1 / 3], abs=1e-4)


def batch_of(n, classes=3, size=64):
    generator = torch.Generator().manual_seed(1)
    return Batch(
        torch.randn(n, 3, size, size, generator=generator), torch.arange(n) % classes, torch.arange(n)
    )


def test_the_loss_is_the_weighted_sum_over_code_branches_and_levels():
    weights = {"joint_weight": 0.5, "vertical_weight": 2.0, "horizontal_weight": 3.0, "level_weight": 0.25}
    method = tiny_method(FPH, bits=12, vertical_bits=5, **weights).eval()
    batch = method.read(batch_of(7))
    terms = method.loss(batch)
    outputs, maps = method(batch.features), list(batch.features.maps.values())
    _, votes = method.horizontal(maps)
    margin = default_margin(12)
    own = [triplet_loss(votes[:, level], batch.labels, margin * 7 / 12) for level in range(3)]
    expected = {
        "joint": 0.5 * triplet_loss(outputs, batch.labels, margin),
        "vertical": 2.0 * triplet_loss(outputs[:, :5], batch.labels, margin * 5 / 12),
        "horizontal": 3.0 * triplet_loss(outputs[:, 5:], batch.labels, margin * 7 / 12),
        "levels": 0.25 * sum(own),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}, rel=1e-5
    )


@pytest.mark.parametrize("branch", ["vertical", "horizontal"])
def test_a_branch_alone_has_all_the_bits_and_one_loss(branch):
    method = tiny_method(FPH, bits=12, branches=branch).eval()
    batch = method.read(batch_of(6))
    assert method(batch.features).shape == (6, 12)
    assert list(method.loss(batch)) == ["joint"]
    assert (method.vertical is None) == (branch == "horizontal")
    assert (method.horizontal is None) == (branch == "vertical")


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_100", "convnext_atto"])
@pytest.mark.parametrize(("vertical", "structure"), [("top", "none"), ("fpn", "spatial")])
def test_it_stands_on_any_backbone(name, vertical, structure):
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig(name=name))
    method = FPH(backbone, 3, 11, OptimConfig(), vertical=vertical, structure=structure).train()
    batch = method.read(batch_of(4, classes=2))
    maps = list(batch.features.maps.values())
    for level, climb in enumerate(method.horizontal.climb):
        assert len(climb) == 3 - level
        assert climb(maps[level]).shape == maps[3].shape
    terms = method.loss(batch)
    sum(terms.values()).backward()
    trained = [(n, p) for n, p in method.named_parameters() if p.requires_grad]
    missing = [n for n, p in trained if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing
    assert method.vertical_bits == 5
    assert method.eval().encode(batch.features).bits_per_item == 11
    assert method.embed(batch.features).vectors.shape == (4, 11)


@pytest.mark.parametrize("labels", [torch.zeros(4, dtype=torch.long), torch.arange(4)])
def test_one_sided_batches_are_finite(labels):
    method = tiny_method(FPH, classes=4, level_weight=1.0).train()
    terms = method.loss(method.read(batch_of(4)._replace(labels=labels)))
    sum(terms.values()).backward()
    assert all(float(term.detach()) == 0 for term in terms.values())
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_bits_are_split_in_half_unless_told():
    assert split_bits(12, "both", None) == 6
    assert split_bits(13, "both", None) == 6
    assert split_bits(12, "both", 9) == 9
    assert split_bits(12, "vertical", None) == 12
    assert split_bits(12, "horizontal", None) == 0


@pytest.mark.parametrize(
    ("bits", "settings"), [(0, {}), (-8, {}), (1, {}), (8, {"vertical_bits": 8}), (8, {"vertical_bits": 0})]
)
def test_lengths_that_leave_a_branch_empty_are_refused(bits, settings):
    with pytest.raises(InputError, match=str(bits)):
        FPH.allows_bits(bits, **settings)


@pytest.mark.parametrize("settings", [{"fusion": "max"}, {"branches": "vertical"}])
def test_a_level_loss_needs_levels(settings):
    with pytest.raises(InputError, match=r"method\.level_weight: got 1\.0"):
        tiny_method(FPH, level_weight=1.0, **settings)
