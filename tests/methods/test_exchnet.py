"""ExchNet: its terms against plain loops, its parts, its alternation, and what a resumed training gives."""

import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from fghash.backbone import Backbone
from fghash.batch import Batch, Reads
from fghash.errors import InputError
from fghash.methods.exchnet import (
    ExchNet,
    anchors_of,
    diversity,
    exchange_parts,
    spatial_distributions,
)
from fghash.settings.config import BackboneConfig, OptimConfig
from tiny_training import TinyData, seen, tiny_method, train


def loop_diversity(parts):
    """Mean Hellinger distance of all pairs of distributions of one image."""
    total, pairs = 0.0, 0
    for i in range(len(parts)):
        for k in range(i + 1, len(parts)):
            apart = sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in zip(parts[i], parts[k], strict=True))
            total, pairs = total + math.sqrt(apart) / math.sqrt(2), pairs + 1
    return total / pairs


def test_diversity_equals_the_loop():
    z = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    expected = [loop_diversity(image) for image in z.tolist()]
    assert diversity(z).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("kind", "value"), [("one-hot", 1.0), ("identical", 0.0), ("same one-hot", 0.0)])
def test_extreme_maps_have_their_values_and_finite_gradients(kind, value):
    scores = {
        "one-hot": 1e4 * torch.eye(4),
        "identical": torch.randn(1, 4, generator=torch.Generator().manual_seed(0)).expand(4, 4),
        "same one-hot": 1e4 * torch.eye(4)[:1].expand(4, 4),
    }[kind].clone()
    scores.requires_grad_()
    found = diversity(scores.softmax(-1)[None])
    found.sum().backward()
    assert float(found.detach()) == pytest.approx(value, abs=1e-5)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_spatial_distributions_equal_the_loop(aggregation):
    maps = torch.randn(2, 3, 5, 2, 2, generator=torch.Generator().manual_seed(1))
    found = spatial_distributions(maps, aggregation)
    for b in range(2):
        for m in range(3):
            heat = [sum(maps[b, m, c, y, x].item() for c in range(5)) for y in range(2) for x in range(2)]
            heat = [h / 5 for h in heat] if aggregation == "mean" else heat
            total = sum(math.exp(h) for h in heat)
            assert found[b, m].tolist() == pytest.approx([math.exp(h) / total for h in heat], rel=1e-5)


@pytest.mark.parametrize("kind", ["classes", "multi-hot"])
def test_exchange_puts_the_class_anchor_in_the_place_of_a_part(kind):
    generator = torch.Generator().manual_seed(2)
    parts, anchors = torch.randn(4, 3, 5, generator=generator), torch.randn(6, 3, 5, generator=generator)
    classes = [[1], [0], [5], [1]] if kind == "classes" else [[1, 2], [0], [5, 3, 4], []]
    hot = torch.zeros(4, 6, dtype=torch.long)
    for i, own in enumerate(classes):
        hot[i, own] = 1
    labels = torch.tensor([own[0] for own in classes]) if kind == "classes" else hot
    keep = torch.rand(4, 3, generator=generator) < 0.5
    parts.requires_grad_()
    found = exchange_parts(parts, anchors_of(anchors, labels), keep)
    for i, own in enumerate(classes):
        for j in range(3):
            means = [sum(anchors[c, j, k].item() for c in own) / max(len(own), 1) for k in range(5)]
            wanted = parts[i, j].tolist() if keep[i, j] else means
            assert found[i, j].tolist() == pytest.approx(wanted, abs=1e-6)
    found.sum().backward()
    assert torch.equal(parts.grad, keep[..., None].expand_as(parts).float())


def exchanging(method, labels):
    """The method in the middle of a training that exchanges features, with anchors unlike any feature."""
    method.train_sampler(labels)
    method.anchors = torch.full_like(method.anchors, 1000.0)
    method.exchanging = torch.tensor(True)
    method.on_train_epoch_start()
    return method


def test_features_are_exchanged_in_training_and_never_in_evaluation():
    data = TinyData(n_items=400)
    method = exchanging(tiny_method(ExchNet, seed=1), data.train_labels).train()
    parts = torch.zeros(400, 4, method.anchors.shape[2])
    batch = Batch(torch.empty(400), torch.tensor(data.train_labels), torch.arange(400))
    found = method.exchanged(parts, batch)[:, :, 0]
    assert set(found.unique().tolist()) == {0.0, 1000.0}
    assert (found == 0).float().mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.08)
    some = torch.tensor([7, 3])
    again = method.exchanged(parts[some], Batch(*(part[some] for part in batch[:3])))[:, :, 0]
    assert torch.equal(again, found[some]), "coins belong to items, not to places in a batch"
    assert torch.equal(method.eval().exchanged(parts, batch), parts)
    images = data.pictures.images[:5]
    plain = tiny_method(ExchNet, seed=1).eval()
    assert torch.equal(method(seen(method, images)), plain(seen(plain, images)))


def test_the_terms_are_finite_in_half_precision_and_before_anything_is_known():
    data = TinyData()
    method = exchanging(tiny_method(ExchNet, aggregation="sum", align_weight=1.0), data.train_labels).train()
    batch = data.pictures.__getitems__([(i, 0) for i in range(6)])
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.loss(method.read(batch))
    assert sorted(terms) == ["align", "channel", "similarity", "spatial"]
    assert all(term.dtype == torch.float32 for term in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_weights_scale_their_terms():
    data = TinyData()
    batch = data.pictures.__getitems__([(i, 0) for i in range(6)])
    found = []
    for weight in (1.0, 3.0):
        settings = {"spatial_weight": weight, "channel_weight": weight, "threshold": 1.0}
        method = tiny_method(ExchNet, **settings, quantisation_weight=weight)
        method.train_sampler(data.train_labels)
        found.append({name: term.item() for name, term in method.train().loss(method.read(batch)).items()})
    for name in ("spatial", "channel", "quantisation"):
        assert found[1][name] == pytest.approx(3 * found[0][name], rel=1e-5)
        assert found[0][name] > 0
    assert found[1]["similarity"] == found[0]["similarity"]


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "mobilenetv2_100", "convnext_atto"])
@pytest.mark.parametrize("attention", ["funnel", "stage"])
def test_it_stands_on_any_backbone_with_stages(name, attention):
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig(name=name)).eval()
    method = ExchNet(backbone, 3, 12, OptimConfig(), attention=attention, parts=3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(images, Reads(levels=(3, 4))).maps
        inner, last = maps[3], maps[4]
        for stage in (method.head.local, method.head.whole):
            assert torch.equal(stage(inner), last), "a copied stage is the backbone's own, bit for bit"
        assert method.head.choose(method.head.look(inner)).shape == (2, 3, *inner.shape[2:])
        maps, whole = method.head(inner)
    assert maps.shape == (2, 3, *last.shape[1:])
    assert whole.shape == last.shape[:2]
    assert len(method.encode(seen(method, images))) == 2


def test_copies_learn_apart_and_new_layers_are_the_head():
    method = tiny_method(ExchNet)
    copies = [list(stage.parameters()) for stage in (method.head.local, method.head.whole)]
    assert not {id(p) for p in copies[0]} & {id(p) for p in copies[1]}
    assert not any(p.requires_grad for p in method.backbone.network.layer4.parameters())
    assert all(p.requires_grad for p in method.backbone.network.layer3.parameters())
    head = {id(p) for p in method.head_parameters()}
    assert not head & {id(p) for p in [*method.backbone.parameters(), *copies[0], *copies[1]]}
    assert head >= {id(p) for p in [*method.head.choose.parameters(), *method.head.linear.parameters()]}


def test_frozen_batch_statistics_are_frozen_in_the_copies_too():
    backbone = Backbone(BackboneConfig(name="test_resnet", freeze_batchnorm=True))
    method = ExchNet(backbone, 3, 8, OptimConfig())
    modes = {
        part: {m.training for m in part.modules() if isinstance(m, torch.nn.BatchNorm2d)}
        for part in (method.head.local, method.head.whole, method.head.choose)
    }
    assert list(modes.values()) == [{False}, {False}, {True}]


class Watch(pl.Callback):
    """What the state was at the end of each epoch."""

    def __init__(self):
        self.steps, self.exchanging, self.seen = [], [], []

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        self.seen.append((trainer.current_epoch, batch.index.tolist()))

    def on_train_epoch_end(self, trainer, method):
        self.steps.append(int(method.alternation.steps))
        self.exchanging.append(bool(method.exchanging))


def test_training_alternates_and_exchanges_in_its_second_half():
    data, watch = TinyData(), Watch()
    method = tiny_method(ExchNet, inner=0.25, subset=9)
    assert method.learned_codes() is None
    train(method, data, 8, callbacks=[watch])
    # hooks of callbacks come before the method's own: these are the states in which each epoch was trained
    assert watch.steps == [0, 0, 1, 1, 2, 2, 3, 3]
    assert watch.exchanging == [False] * 4 + [True] * 4
    assert int(method.alternation.steps) == 4
    assert len(method.learned_codes()) == 26
    subsets = [set(method.alternation.positions(epoch)) for epoch in range(8)]
    assert all(set(index) <= subsets[epoch] for epoch, index in watch.seen)
    assert len(watch.seen) == 8 * 2


def test_without_exchange_there_is_none():
    method = tiny_method(ExchNet, inner=0.25, exchange=False)
    train(method, TinyData(), 4)
    assert not method.exchanging
    assert float(method.anchors.abs().sum()) == 0


def test_anchors_are_plain_class_means_in_evaluation_mode():
    data = TinyData()
    method = tiny_method(ExchNet, inner=0.5, lr=0.0)
    method.head.whole.eval()
    trainer = train(method, data, 2)
    trainer.datamodule = data
    method.train()
    method.head.whole.eval()
    method.trainer = trainer
    found = method.class_means()
    assert method.head.local.training
    assert not method.head.whole.training
    method.eval()
    with torch.no_grad():
        features = [
            method.head(seen(method, data.pictures.images[i : i + 1]).maps[3])[0].mean((3, 4))[0]
            for i in range(26)
        ]
    for c in range(3):
        own = [features[i] for i in range(26) if data.train_labels[i] == c]
        assert torch.allclose(found[c], sum(own) / len(own), atol=1e-5)


def test_resuming_in_the_middle_of_an_outer_iteration_gives_the_same_codes(tmp_path):
    """Outer iterations have 2 epochs: epochs 2 and 4 are the first of the second and of an exchanging one."""
    settings = {"inner": 0.25, "subset": 9}
    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = tiny_method(ExchNet, **settings)
    train(whole, TinyData(), 8, callbacks=[keep], folder=tmp_path)
    assert bool(whole.exchanging)
    for epoch in (2, 4):
        resumed = tiny_method(ExchNet, seed=77, **settings)
        train(resumed, TinyData(), 8, checkpoint=str(tmp_path / f"epoch={epoch}.ckpt"), folder=tmp_path)
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name
        assert (resumed.learned_codes().bits == whole.learned_codes().bits).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"parts": 1}, "method.parts: got 1"), ({"exchange_start": 1.5}, "method.exchange_start: got 1.5")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        tiny_method(ExchNet, **settings)


def test_a_training_without_an_end_is_refused():
    with pytest.raises(InputError, match=r"trainer\.max_epochs: -1"):
        train(tiny_method(ExchNet), TinyData(), -1)


@pytest.mark.parametrize("bits", [0, -8])
def test_lengths_that_are_none_are_refused(bits):
    with pytest.raises(InputError, match=str(bits)):
        ExchNet.allows_bits(bits)
