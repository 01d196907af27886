"""DPQ: progressive quantization and its losses against plain loops, label vectors, stages and optimisers."""

import inspect
import itertools
import math
import re

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from fghash.batch import Batch
from fghash.errors import InputError
from fghash.layers.quantizers import cosine, nearness
from fghash.methods.dpq import DPQ
from fghash.methods.dpq.dpq_loss import class_loss, margin_loss, quantization_losses, quantize
from fghash.methods.dpq.label_vectors import class_words, random_vectors, read_vectors, vector_width
from fghash.presets import read_preset
from fghash.settings.config import OptimConfig
from fghash.training.within_epoch import EpochDraws
from tiny_training import TinyData, loss, seen, tiny_method, train

IMAGES = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(8))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
BATCH = Batch(IMAGES, LABELS, torch.arange(6))
SMALL = {"words": 16, "width": 12, "bits": 8}
DATA = {"size": 32, "n_items": 16}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def method(bits=32, **settings):
    return tiny_method(DPQ, bits, **settings)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cos(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def minus_squared(a, b):
    return -sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


# -- progressive quantization


def loop_quantize(x, codebooks, gamma, score):
    """Approximations after each level, soft and hard, and the chosen words, of one vector."""
    residual, soft, hard, chosen = list(x), [0.0] * len(x), [0.0] * len(x), []
    softs, hards = [], []
    for words in codebooks:
        scores = [score(residual, word) for word in words]
        weights = [math.exp(gamma * s) for s in scores]
        best = scores.index(max(scores))
        mixture = [dot(weights, column) / sum(weights) for column in zip(*words, strict=True)]
        soft = [a + b for a, b in zip(soft, mixture, strict=True)]
        hard = [a + b for a, b in zip(hard, words[best], strict=True)]
        residual = [a - b for a, b in zip(residual, words[best], strict=True)]
        softs.append(soft)
        hards.append(hard)
        chosen.append(best)
    return softs, hards, chosen


@pytest.mark.parametrize(("score", "by_hand"), [(cosine, cos), (nearness, minus_squared)])
@pytest.mark.parametrize("gamma", [1.0, 7.0])
def test_quantization_equals_the_loop(score, by_hand, gamma):
    vectors, codebooks = normal(5, 6), normal(3, 8, 6, seed=1)
    found = quantize(vectors, codebooks, gamma, score)
    for b, vector in enumerate(vectors.tolist()):
        soft, hard, chosen = loop_quantize(vector, codebooks.tolist(), gamma, by_hand)
        assert found.indices[b].tolist() == chosen
        assert np.allclose(found.soft[:, b], soft, atol=1e-5)
        assert np.allclose(found.hard[:, b], hard, atol=1e-5)


def test_quantization_losses_equal_the_loop():
    vectors, codebooks = normal(4, 5), normal(3, 8, 5, seed=1)
    found = quantize(vectors, codebooks)

    def error(a, b):
        return -sum(minus_squared(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)) / 20

    expected = (
        sum(error(vectors, level) for level in found.soft),
        sum(error(vectors, level) for level in found.hard),
        error(found.soft[2], found.hard[2]),
    )
    assert [float(x) for x in quantization_losses(vectors, found)] == pytest.approx(expected, rel=1e-5)


def test_truncated_codes_are_the_codes_of_the_first_codebooks():
    vectors, codebooks = normal(40, 6), normal(4, 16, 6, seed=1)
    whole, short = quantize(vectors, codebooks), quantize(vectors, codebooks[:2])
    assert torch.equal(whole.indices[:, :2], short.indices)
    assert torch.equal(whole.hard[:2], short.hard)
    codes = method(bits=32, width=20).eval().encode(seen(method(bits=32, width=20).eval(), IMAGES))
    decoded = sum(codes.codebooks[m][codes.indices[:, m]] for m in range(2))
    assert np.allclose(codes.prefix(16).decode(), decoded, atol=1e-6)


def test_scores_by_lookup_table_are_those_of_the_decoded_codes():
    dpq = method(bits=32, width=20).eval()
    codes, query = dpq.encode(seen(dpq, IMAGES)), dpq.encode_queries(seen(dpq, IMAGES)).vectors[0]
    assert (codes.structure, codes.similarity, codes.indices.dtype) == ("additive", "dot", np.uint8)
    table = codes.codebooks @ query
    for item, score in zip(codes.indices, codes.decode() @ query, strict=True):
        assert sum(table[m, word] for m, word in enumerate(item)) == pytest.approx(float(score), abs=1e-5)


def test_later_soft_terms_train_earlier_words_through_the_residual():
    """As in the official code: nothing stops the gradient of r - hard."""
    codebooks = normal(2, 8, 6, seed=1).requires_grad_()
    found = quantize(normal(5, 6), codebooks)
    (found.soft[1] - found.soft[0]).square().sum().backward()
    assert codebooks.grad[0].abs().max() > 0


def test_vanishing_residuals_and_words_give_no_nan():
    codebooks = torch.zeros(2, 4, 3, requires_grad=True)
    found = quantize(torch.zeros(2, 3), codebooks)
    sum(quantization_losses(torch.ones(2, 3), found)).backward()
    assert torch.isfinite(codebooks.grad).all()


# -- margin and classification


def loop_margin(x, label_sets, vectors, mean):
    total, active = 0.0, 0
    for item, labels in zip(x, label_sets, strict=True):
        for i in labels:
            for j, other in enumerate(vectors):
                hinge = max(0.0, 1 - cos(vectors[i], other) - cos(vectors[i], item) + cos(other, item))
                total, active = total + hinge, active + (j != i and hinge > 0)
    terms = len(vectors) * sum(len(labels) for labels in label_sets)
    return total / (terms if mean == "all" else active)


@pytest.mark.parametrize("mean", ["all", "active"])
@pytest.mark.parametrize("kind", ["classes", "sets"])
def test_margin_loss_equals_the_loop(kind, mean):
    x, vectors = normal(6, 5), normal(4, 5, seed=1) + 0.5
    sets = (normal(6, 4, seed=2) > 0).int() if kind == "sets" else torch.eye(4)[[0, 1, 2, 3, 0, 1]].int()
    labels = sets if kind == "sets" else sets.argmax(dim=1)
    lists = [[c for c, one in enumerate(row) if one] for row in sets.tolist()]
    expected = loop_margin(x.tolist(), lists, vectors.tolist(), mean)
    assert float(margin_loss(x, labels, vectors, mean)) == pytest.approx(expected, rel=1e-5)


def test_margin_loss_is_zero_at_the_label_vectors_themselves():
    vectors = normal(7, 10) + 0.5
    assert float(margin_loss(3 * vectors, torch.arange(7), vectors)) == pytest.approx(0, abs=1e-6)


def test_the_hinge_of_a_class_against_itself_is_exactly_zero():
    """With one class there is no other hinge."""
    for seed in range(20):
        assert (
            float(margin_loss(normal(3, 5, seed=seed), torch.zeros(3, dtype=torch.long), normal(1, 5))) == 0
        )


def test_margin_loss_without_any_label_is_zero():
    assert float(margin_loss(normal(2, 5), torch.zeros(2, 4), normal(4, 5))) == 0


def test_class_loss_equals_the_loop():
    scores, sets = normal(4, 3), (normal(4, 3, seed=1) > 0).int()
    rows = scores.tolist()
    softmax = [
        row[k] - math.log(sum(math.exp(s) for s in row)) for row, k in zip(rows, (0, 2, 1, 1), strict=True)
    ]
    assert float(class_loss(scores, torch.tensor([0, 2, 1, 1]))) == pytest.approx(-sum(softmax) / 4, abs=1e-6)
    sigmoid = [
        -math.log(1 / (1 + math.exp(-s if one else s)))
        for row, ones in zip(rows, sets.tolist(), strict=True)
        for s, one in zip(row, ones, strict=True)
    ]
    assert float(class_loss(scores, sets)) == pytest.approx(sum(sigmoid) / 12, abs=1e-6)


# -- label vectors


def test_class_names_lose_their_identifiers():
    assert class_words("n02085620-Chihuahua") == ["chihuahua"]
    assert class_words("017.Cardinal") == ["cardinal"]
    assert class_words("737-200 jet") == ["737", "200", "jet"]


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_text_vectors_are_averaged_over_the_words_of_a_name(tmp_path, header):
    path = tmp_path / "vectors.txt"
    path.write_text(header + "Red 1 0\nbird 0 1\nother 9 9\n")
    assert vector_width(path) == 2
    assert read_vectors(path, ["001.Red_bird", "bird"]).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_npz_vectors_come_by_word_or_in_the_order_of_the_classes(tmp_path):
    by_word, in_order = tmp_path / "words.npz", tmp_path / "classes.npz"
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    np.savez(by_word, words=np.array(["Red", "bird"]), vectors=vectors)
    np.savez(in_order, vectors=vectors)
    assert vector_width(by_word) == vector_width(in_order) == 2
    assert read_vectors(by_word, ["red-bird", "bird"]).tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert read_vectors(in_order, ["a", "b"]).tolist() == vectors.tolist()


def test_unknown_words_and_equal_classes_are_told(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("bird 0 1\nfish 1 1\n")
    with pytest.warns(UserWarning, match="dpq: ") as warnings:
        read_vectors(path, ["red_bird", "blue_bird", "fish"])
    unknown, equal = [str(warning.message) for warning in warnings]
    assert "no vector for the words blue, red" in unknown
    assert "no margin between red_bird and blue_bird" in equal


def read_after_checking(path):
    vector_width(path)
    return read_vectors(path, ["bird"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "method.label_vectors: no such file"),
        ("vectors.bin", "bird 0 1\n", "allowed are .npz and .txt"),
        ("vectors.txt", "bird\n", "is no text of word vectors"),
        ("vectors.txt", "", "is no text of word vectors"),
        ("vectors.txt", "fish 0 1\n", "no word vector for bird"),
        ("vectors.txt", "fish 0 1\nbird 0 x\n", "line 2 does not hold 2 finite numbers"),
        ("vectors.txt", "fish 0 1\nbird nan 0\n", "line 2 does not hold 2 finite numbers"),
        ("vectors.txt", "bird 0 0\n", "the vector is zero for bird"),
        ("vectors.npz", "text", "not a readable .npz"),
        ("vectors.npz", {"words": ["bird"]}, "needs an array 'vectors'"),
        ("vectors.npz", {"vectors": [[1, 2]]}, "needs an array 'vectors'"),
        ("vectors.npz", {"vectors": [[1.0, math.nan]]}, "needs an array 'vectors'"),
        ("vectors.npz", {"vectors": [[1.0], [2.0]]}, "2 vectors without words for 1 classes"),
        ("vectors.npz", {"vectors": [[1.0], [2.0]], "words": ["bird"]}, "needs one text in 'words'"),
        ("vectors.npz", {"vectors": [[1.0]], "words": np.array(["bird"], dtype=object)}, "a pickle"),
    ],
)
def test_files_that_do_not_serve_are_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **{key: np.asarray(value) for key, value in content.items()})
    elif content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_after_checking(path)
    assert "\n" not in str(error.value)


def test_random_vectors_are_always_the_same_and_nearly_orthogonal():
    torch.manual_seed(3)
    vectors = random_vectors(50, 300)
    torch.manual_seed(4)
    assert torch.equal(vectors, random_vectors(50, 300))
    assert cosine(vectors, vectors).fill_diagonal_(0).abs().max() < 0.3


class NamedData(TinyData):
    class_names = ("red", "bird", "red_bird")


def test_training_takes_label_vectors_by_the_names_of_the_classes(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("red 1 0 0\nbird 0 1 0\n")
    dpq = method(**{**SMALL, "label_vectors": path})
    assert dpq.label_vectors.shape == (3, 3)
    train(dpq, NamedData(**DATA), 1)
    assert dpq.label_vectors.tolist() == [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]
    with pytest.raises(InputError, match="class names"):
        train(method(**{**SMALL, "label_vectors": path}), TinyData(**DATA), 1)


# -- method


def test_the_terms_are_the_weighted_losses():
    weights = {"margin_weight": 2.0, "lam": 0.5, "tau": 3.0, "soft_weight": 0.7, "mu": 0.2, "nu": 0.1}
    dpq = method(**SMALL, **weights, gamma=2.0, hinge_mean="all").eval()
    x, scores = dpq(seen(dpq, IMAGES))
    soft, hard, joint = quantization_losses(x, quantize(x, dpq.codebooks, 2.0))
    expected = {
        "margin": 2 * margin_loss(x, LABELS, dpq.label_vectors, "all"),
        "classes": 0.5 * class_loss(scores, LABELS),
        "soft": 2.1 * soft,
        "hard": 0.6 * hard,
        "joint": 0.3 * joint,
    }
    terms = loss(dpq, IMAGES, LABELS)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert float(term.detach()) == pytest.approx(float(expected[name].detach()), rel=1e-5)


@pytest.mark.parametrize("to_encoder", [False, True])
def test_quantization_trains_the_encoder_only_if_asked(to_encoder):
    dpq = method(**SMALL, quant_grad_to_encoder=to_encoder)
    terms = loss(dpq, IMAGES, LABELS)
    (terms["soft"] + terms["hard"] + terms["joint"]).backward()
    encoder = [p for name, p in dpq.named_parameters() if name != "codebooks"]
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in encoder) == to_encoder
    assert dpq.codebooks.grad.abs().max() > 0


def test_label_sets_train_too():
    sets = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0]])
    terms = loss(method(**SMALL), IMAGES, sets)
    assert all(torch.isfinite(term) for term in terms.values())


def test_every_prefix_is_a_length_of_one_training():
    assert method(bits=32).code_lengths() == (8, 16, 24, 32)
    assert method(**{**SMALL, "bits": 12}).code_lengths() == (4, 8, 12)
    DPQ.allows_bits(12, words=64)
    with pytest.raises(InputError, match="bits: got 12, allowed with 256 codewords are multiples of 8"):
        DPQ.allows_bits(12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 10}, "bits: got 10"),
        ({"codebook_start": 1.0}, "method.codebook_start: got 1.0"),
        ({"dropout": 1.0}, "method.dropout: got 1.0"),
        ({"gamma": 0.0}, "method.gamma: got 0.0"),
        ({"codebook_lr": 0.0}, "method.codebook_lr: got 0.0"),
        ({"width": 0}, "method.width: got 0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        method(**settings)


def test_clean_features_are_those_of_evaluation_and_leave_training_on():
    dpq = method(**SMALL, clean_features=True, dropout=0.5).train()
    dpq.backbone.eval()
    targets = []
    dpq._word_terms = lambda target: targets.append(target) or {}
    loss(dpq, IMAGES, LABELS)
    assert dpq.training
    assert dpq.head.dropout.training
    assert torch.allclose(targets[0], dpq.eval()(seen(dpq, IMAGES))[0], atol=1e-5)


def test_the_similarity_of_codes_and_queries_can_be_a_distance():
    dpq = method(**SMALL, similarity="l2", assignment="distance").eval()
    assert dpq.encode(seen(dpq, IMAGES)).similarity == dpq.embed(seen(dpq, IMAGES)).similarity == "l2"


def test_bf16_autocast_chooses_the_same_words_for_nearly_all_items():
    """Stated tolerance: embeddings within 0.05 of one another, 9 of 10 first words the same."""
    images = normal(24, 3, 32, 32, seed=4)
    dpq = method(bits=16, width=40, init_std=0.3).train()
    loss(dpq, images, LABELS.repeat(4))  # batch statistics
    dpq.eval()
    with torch.no_grad():
        full, query = dpq.encode(seen(dpq, images)), dpq.encode_queries(seen(dpq, images))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, half_query = dpq.encode(seen(dpq, images)), dpq.encode_queries(seen(dpq, images))
    assert half.codebooks.dtype == half_query.vectors.dtype == np.float32
    assert (half.indices[:, 0] == full.indices[:, 0]).mean() > 0.9
    assert np.abs(half_query.vectors - query.vectors).max() < 0.05


@pytest.mark.parametrize("preset", ["default", "faithful"])
def test_presets_give_every_setting(preset):
    keywords = {p.name for p in inspect.signature(DPQ).parameters.values() if p.kind is p.KEYWORD_ONLY}
    settings = read_preset("dpq", preset)["method"]
    assert settings.keys() == keywords
    method(**settings)


class Watch(pl.Callback):
    """Codebooks and a weight of the network at the start of each epoch and at the end; what was logged."""

    def __init__(self):
        self.words, self.weights, self.logged = [], [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.words.append(pl_module.codebooks.detach().clone())
        self.weights.append(pl_module.head.embedding.weight.detach().clone())
        self.logged.append(set(trainer.callback_metrics))

    def on_train_end(self, trainer, pl_module):
        self.on_train_epoch_start(trainer, pl_module)


def changes(states):
    return [not torch.equal(a, b) for a, b in itertools.pairwise(states)]


@pytest.mark.parametrize(
    ("settings", "words", "weights"),
    [
        ({"init": "gaussian"}, [False, False, True, True], [True] * 4),
        ({"init": "kmeans", "two_step": True}, [False, True, True, True], [True, True, False, False]),
        ({"init": "gaussian", "codebook_start": 0.0}, [True] * 4, [True] * 4),
    ],
    ids=str,
)
def test_words_learn_from_their_start_on(settings, words, weights):
    watch = Watch()
    trainer = train(method(**SMALL, **settings), TinyData(**DATA), 4, callbacks=[watch])
    assert changes(watch.words) == words
    assert changes(watch.weights) == weights
    start = 0 if settings.get("codebook_start") == 0.0 else 2
    logged = ["train/residual_energy_2" in names for names in watch.logged[1:]]
    assert logged == [epoch >= start for epoch in range(4)]
    steps = trainer.optimizers[1].state_dict()["state"][0]["step"]
    assert int(steps) == (4 - start) * 4, "the words' Adam counts only its own steps"


def test_k_means_starts_words_where_they_leave_less_over():
    dpq = method(**{**SMALL, "bits": 12})
    x = torch.tanh(normal(80, 12))
    dpq._start_words(x)
    energies = (x - quantize(x, dpq.codebooks).hard.detach()).square().sum(dim=(1, 2)).tolist()
    assert sorted([float(x.square().sum()), *energies], reverse=True) == [float(x.square().sum()), *energies]
    assert energies[-1] < 0.5 * float(x.square().sum())


def test_faithful_rates_are_those_of_the_official_groups():
    """Times the base rate 0.001: trunk weights 0.5, trunk biases 1, head weights 10, head biases 20."""
    preset = read_preset("dpq", "faithful")
    dpq = method(**{**preset["method"], "width": 12})
    dpq.optim = OptimConfig(**preset["optim"])
    dpq.schedule = lambda optimizer: None
    network, words = (each["optimizer"] for each in dpq.configure_optimizers())
    rates = {group["name"]: group["lr"] for group in network.param_groups}
    expected = {"backbone": 0.0005, "backbone_undecayed": 0.001, "head": 0.01, "head_undecayed": 0.02}
    assert rates == pytest.approx(expected)
    assert words.param_groups[0]["lr"] == 1e-4
    owned = [id(p) for each in (network, words) for group in each.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in dpq.parameters())


def test_idle_words_are_reported_at_the_end():
    dpq = method(bits=8)
    dpq.usage.add(torch.zeros(600, 1, dtype=torch.long))
    with pytest.warns(UserWarning, match="dpq: only 1 of 256 codewords"):
        dpq.on_train_end()


def test_a_resumed_training_ends_with_the_same_words(tmp_path):
    """The checkpoint is that of the epoch whose end set the words by k-means."""
    whole, resumed = (method(**SMALL, codebook_start=0.3, seed=seed) for seed in (0, 9))
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    train(whole, TinyData(**DATA), 3, callbacks=[EpochDraws(0), keep], folder=tmp_path)
    last = str(tmp_path / "epoch=0.ckpt")
    train(resumed, TinyData(**DATA), 3, checkpoint=last, callbacks=[EpochDraws(0)], folder=tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
