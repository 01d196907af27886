"""PHPQ: its pooling, quantizer and loss against plain loops, and what its training does to the words."""

import inspect
import itertools
import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from fghash.codes import QuantizedCodes
from fghash.errors import InputError
from fghash.layers.similarity import shared_label
from fghash.methods.phpq import PHPQ
from fghash.methods.phpq.phpq_head import ClassHead, HybridPool, LevelPooling, PyramidHybridPooling
from fghash.methods.phpq.phpq_loss import asymmetric_triplet, class_loss, commitment, entropy
from fghash.methods.phpq.phpq_quantizer import ProductQuantizer, partial_attention
from fghash.presets import read_preset
from fghash.training.callbacks import EpochTerms
from fghash.training.within_epoch import EpochDraws
from tiny_training import TinyData, loss, seen, tiny_method, train

IMAGES = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(8))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def quantizer(words=32, sub_dim=8, codebooks=3, **settings):
    torch.manual_seed(1)
    return ProductQuantizer(codebooks, words, sub_dim, **{"kappa": 4, "alpha": 10.0, **settings})


def method(bits=16, **settings):
    return tiny_method(PHPQ, bits, **settings)


# -- pooling


@pytest.mark.parametrize("kind", ["avg", "max", "sum", "mix", "gem", "concat"])
def test_pooling_equals_the_loop(kind):
    pool, map_ = HybridPool(kind), normal(2, 3, 4, 5)
    if kind == "mix":
        nn.init.constant_(pool.balance, 0.7)
    found = pool(map_)
    for b in range(2):
        for c in range(3):
            values = [v for row in map_[b, c].tolist() for v in row]
            average, maximum = sum(values) / len(values), max(values)
            weight = 1 / (1 + math.exp(-0.7))
            expected = {
                "avg": average,
                "max": maximum,
                "sum": average + maximum,
                "mix": weight * average + (1 - weight) * maximum,
                "gem": (sum(max(v, 1e-6) ** 3 for v in values) / len(values)) ** (1 / 3),
                "concat": average,
            }[kind]
            assert float(found[b, c].detach()) == pytest.approx(expected, abs=1e-5)
            if kind == "concat":
                assert float(found[b, 3 + c]) == maximum


def test_mixtures_start_balanced_and_can_learn():
    assert float(HybridPool("mix").balance.detach().sigmoid()) == 0.5
    for kind in ("mix", "gem"):
        pool = HybridPool(kind)
        pool(normal(2, 3, 4, 4)).sum().backward()
        (learned,) = pool.parameters()
        assert learned.grad.abs() > 0


@pytest.mark.parametrize("norm", ["bn", "l2", "none"])
def test_levels_are_brought_to_one_scale(norm):
    pooled = LevelPooling(5, "sum", None, norm)(100 * normal(16, 5, 4, 4).relu())
    if norm == "bn":
        assert torch.allclose(pooled.std(dim=0, correction=0), torch.ones(5), atol=1e-3)
    if norm == "l2":
        assert torch.allclose(pooled.norm(dim=1), torch.ones(16), atol=1e-5)
    if norm == "none":
        assert pooled.mean() > 100


@pytest.mark.parametrize("proj", ["linear", "mlp"])
@pytest.mark.parametrize("lateral", [None, 7])
@pytest.mark.parametrize("levels", [(4,), (2, 3, 4), (1, 3)])
def test_the_pyramid_reads_its_levels_and_no_others(levels, lateral, proj):
    channels = (2, 3, 4, 5)
    head = PyramidHybridPooling(channels, 12, levels=levels, lateral=lateral, proj=proj, pool="concat")
    maps = [normal(4, c, 8, 8, seed=c).requires_grad_() for c in channels]
    embedding = head(dict(enumerate(maps, start=1)))
    embedding.square().sum().backward()
    assert embedding.shape == (4, 12)
    assert [map_.grad is not None for map_ in maps] == [level in levels for level in (1, 2, 3, 4)]
    assert head.proj[-1].in_features == 2 * sum(lateral or channels[level - 1] for level in levels)


# -- quantizer


def loop_attention(similarity, kappa, alpha):
    best = sorted(range(len(similarity)), key=lambda k: -similarity[k])[:kappa]
    weights = {k: math.exp(alpha * similarity[k]) for k in best}
    return [weights.get(k, 0.0) / sum(weights.values()) for k in range(len(similarity))]


@pytest.mark.parametrize("kappa", [1, 3, 10])
def test_partial_attention_equals_the_loop(kappa):
    similarity = normal(4, 2, 10)
    found = partial_attention(similarity, kappa, 2.5)
    for rows, expected in zip(found.tolist(), similarity.tolist(), strict=True):
        for row, scores in zip(rows, expected, strict=True):
            assert row == pytest.approx(loop_attention(scores, kappa, 2.5), abs=1e-6)
            assert sum(value > 0 for value in row) == kappa


def test_attention_to_all_words_is_the_ordinary_softmax():
    similarity = normal(5, 3, 32)
    assert torch.allclose(partial_attention(similarity, 32, 10.0), (10 * similarity).softmax(-1), atol=1e-7)


def test_attention_to_one_word_gives_embeddings_no_gradient_and_to_two_it_does():
    for kappa, moves in ((1, False), (2, True)):
        z = normal(6, 24).requires_grad_()
        (quantizer(kappa=kappa)(z).code * normal(6, 3, 8, seed=5)).sum().backward()
        assert bool(z.grad.abs().max() > 1e-7) == moves


def test_a_sample_trains_at_most_kappa_words_of_a_codebook():
    books = quantizer(kappa=4)
    (books(normal(1, 24)).code * normal(1, 3, 8, seed=5)).sum().backward()
    assert ((books.keys.grad.abs().amax(dim=2) > 0).sum(dim=1) <= 4).all()
    assert (books.keys.grad.abs().amax(dim=2) > 0).any(dim=1).all()


def test_forward_is_exactly_the_chosen_word_and_backward_the_attention():
    books, z = quantizer(), normal(6, 24).requires_grad_()
    found = books(z)
    weights = normal(6, 3, 8, seed=5)
    assert torch.equal(found.code, found.hard)
    words = books.codebooks()
    for b in range(6):
        for m in range(3):
            scores = (words[m] @ found.real[b, m]).tolist()
            assert int(found.indices[b, m]) == scores.index(max(scores))
            assert torch.equal(found.hard[b, m], words[m, found.indices[b, m]])
    (through,) = torch.autograd.grad((found.code * weights).sum(), z, retain_graph=True)
    soft = torch.einsum("bmk,mkd->bmd", found.attention, words)
    (expected,) = torch.autograd.grad((soft * weights).sum(), z)
    assert torch.allclose(through, expected, atol=1e-6)


def test_without_straight_through_the_code_is_the_attention():
    books = quantizer(ste=False)
    found = books(normal(6, 24))
    soft = torch.einsum("bmk,mkd->bmd", found.attention, books.codebooks())
    assert torch.allclose(found.code, soft, atol=1e-6)
    assert not torch.allclose(found.code, found.hard, atol=1e-3)


def test_dual_codebooks_choose_by_keys_and_read_values():
    books = quantizer(dual=True)
    found = books(normal(6, 24))
    keys = nn.functional.normalize(books.keys, dim=-1)
    values = nn.functional.normalize(books.values, dim=-1)
    assert torch.equal(found.indices, torch.einsum("bmd,mkd->bmk", found.real, keys).argmax(-1))
    assert torch.equal(found.hard, values[torch.arange(3), found.indices])
    assert torch.equal(books.codebooks(), values)


def test_ranking_by_inner_product_is_ranking_by_distance():
    books = quantizer()
    queries, gallery = books(normal(5, 24)).real.flatten(1), books(normal(40, 24, seed=3)).hard.flatten(1)
    apart = ((queries[:, None] - gallery[None]) ** 2).sum(-1)
    assert torch.allclose(apart, 2 * 3 - 2 * queries @ gallery.T, atol=1e-5)


def test_scores_by_lookup_table_are_those_of_the_decoded_codes():
    books = quantizer()
    query, items = books(normal(1, 24)).real[0], books(normal(40, 24, seed=3))
    codes = QuantizedCodes(items.indices.numpy(), books.codebooks().detach().numpy(), "product", "dot")
    decoded = codes.decode() @ query.detach().flatten().numpy()
    table = (query[:, None] * books.codebooks()).sum(-1)
    for item, score in enumerate(decoded):
        looked_up = sum(float(table[m, codes.indices[item, m]].detach()) for m in range(3))
        assert looked_up == pytest.approx(float(score), abs=1e-5)


@pytest.mark.parametrize("xavier", [False, True])
def test_words_are_unit_vectors_from_the_start_and_after_normalising(xavier):
    books = quantizer(xavier=xavier)
    assert torch.allclose(books.keys.norm(dim=-1), torch.ones(3, 32), atol=1e-5)
    with torch.no_grad():
        books.keys.mul_(3)
    books.normalise()
    assert torch.allclose(books.keys.norm(dim=-1), torch.ones(3, 32), atol=1e-5)


def test_autocast_leaves_the_quantizer_in_float32():
    books, z = quantizer(), normal(6, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = books(z)
    for half, full in zip(found, books(z), strict=True):
        assert torch.equal(half, full)


# -- loss


def test_class_loss_equals_the_loop_for_classes_and_for_label_sets():
    scores, sets = (
        normal(5, 4),
        torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]),
    )
    logs = [[s - math.log(sum(math.exp(t) for t in row)) for s in row] for row in scores.tolist()]
    labels = [0, 1, 2, 3, 3]
    expected = -sum(row[label] for row, label in zip(logs, labels, strict=True)) / 5
    assert float(class_loss(scores, torch.tensor(labels))) == pytest.approx(expected, abs=1e-6)
    shared = [
        sum(-log for log, one in zip(row, which, strict=True) if one) / max(1, sum(which))
        for row, which in zip(logs, sets.tolist(), strict=True)
    ]
    assert float(class_loss(scores, sets)) == pytest.approx(sum(shared) / 5, abs=1e-6)


def test_normalised_class_scores_are_scaled_cosines_and_plain_ones_linear():
    vectors, head, plain = normal(4, 6), ClassHead(6, 3, 20.0), ClassHead(6, 3, None)
    for i, v in enumerate(vectors.tolist()):
        for j, w in enumerate(head.linear.weight.tolist()):
            dot = sum(a * b for a, b in zip(v, w, strict=True))
            expected = 20 * dot / (math.hypot(*v) * math.hypot(*w))
            assert float(head(vectors)[i, j].detach()) == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(plain(vectors), plain.linear(vectors))


@pytest.mark.parametrize("detach", ["none", "features", "words"])
def test_commitment_equals_the_loop_and_trains_the_sides_it_says(detach):
    real, hard = normal(3, 2, 4).requires_grad_(), normal(3, 2, 4, seed=1).requires_grad_()
    found = commitment(real, hard, detach)
    pairs = zip(real.reshape(-1, 4).tolist(), hard.reshape(-1, 4).tolist(), strict=True)
    expected = sum((a - b) ** 2 for x, y in pairs for a, b in zip(x, y, strict=True)) / 6
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)
    found.backward()
    assert (real.grad is None, hard.grad is None) == (detach == "features", detach == "words")


def test_entropy_equals_the_loop_and_is_finite_outside_the_attention():
    similarity = normal(3, 2, 8).requires_grad_()
    attention = partial_attention(similarity, 3, 5.0)
    rows = [row for item in attention.tolist() for row in item]
    expected = sum(-p * math.log(p) for row in rows for p in row if p > 0) / len(rows)
    found = entropy(attention)
    found.backward()
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)
    assert torch.isfinite(similarity.grad).all()


@pytest.mark.parametrize("kind", ["classes", "sets"])
def test_triplets_equal_the_loop(kind):
    real, code, margin = normal(7, 5), normal(7, 5, seed=1), 0.3
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    if kind == "sets":
        labels = (normal(7, 3, seed=4) > 0.4).int()
    similar = shared_label(labels)
    cosines = [[float(nn.functional.cosine_similarity(a, b, dim=0)) for b in code] for a in real]
    hinges = [
        margin - cosines[a][p] + cosines[a][n]
        for a in range(7)
        for p in range(7)
        for n in range(7)
        if similar[a, p] and a != p and not similar[a, n]
    ]
    active = [hinge for hinge in hinges if hinge > 0]
    assert float(asymmetric_triplet(real, code, similar, margin)) == pytest.approx(
        sum(active) / len(active), abs=1e-5
    )


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0]])
def test_triplets_are_zero_with_a_finite_gradient_where_there_are_none(labels):
    real = normal(4, 5).requires_grad_()
    found = asymmetric_triplet(real, normal(4, 5, seed=1), shared_label(torch.tensor(labels)), 0.3)
    found.backward()
    assert float(found.detach()) == 0
    assert torch.isfinite(real.grad).all()


# -- method


def test_the_terms_are_the_weighted_losses():
    phpq = method(loss_q=2.0, loss_z=3.0, lam_q=0.5, lam_e=0.25, triplet=1.5, margin=0.4).eval()
    terms = loss(phpq, IMAGES, LABELS)
    found = phpq.quantizer(phpq(seen(phpq, IMAGES)))
    real, code = found.real.flatten(1), found.code.flatten(1)
    expected = {
        "quantized": 2 * class_loss(phpq.classifier(code), LABELS),
        "real": 3 * class_loss(phpq.classifier(real), LABELS),
        "commitment": 0.5 * commitment(found.real, found.hard),
        "entropy": 0.25 * entropy(found.attention),
        "triplet": 1.5 * asymmetric_triplet(real, code, shared_label(LABELS), 0.4),
    }
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert float(term.detach()) == pytest.approx(float(expected[name].detach()), rel=1e-5)


def test_terms_that_are_off_are_not_computed():
    assert loss(method(), IMAGES, LABELS).keys() == {"quantized", "real"}


def test_label_sets_train_too():
    sets = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0]])
    terms = loss(method(triplet=1.0), IMAGES, sets)
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"levels": (4,), "pool": "avg"},
        {"levels": (1, 2), "pool": "gem", "lateral": 8, "level_norm": "l2"},
        {"pool": "mix", "level_norm": "none", "proj": "mlp"},
        {"codebook": "dual", "ste": False, "init": "xavier"},
        {"classifier": "linear", "lam_q": 0.1, "detach": "features", "words": 16, "kappa": 16},
        {"loss_q": 0.0, "kappa": 1},
    ],
    ids=str,
)
def test_every_switch_trains_and_encodes(settings):
    phpq = method(**settings)
    sum(loss(phpq, IMAGES, LABELS).values()).backward()
    trained = {name for name, p in phpq.named_parameters() if p.requires_grad}
    reached = {name for name, p in phpq.named_parameters() if p.grad is not None}
    assert trained == reached, "DDP would wait for the others"
    codes = phpq.eval().encode(seen(phpq.eval(), IMAGES))
    assert codes.bits_per_item == 16
    assert np.allclose(np.linalg.norm(codes.codebooks, axis=-1), 1, atol=1e-5)


def test_a_code_of_256_words_takes_one_byte_a_codebook():
    codes = method(bits=24).eval().encode(seen(method(bits=24).eval(), IMAGES))
    assert codes.indices.dtype == np.uint8
    assert codes.indices.shape == (6, 3)
    assert (codes.structure, codes.similarity) == ("product", "dot")


def test_queries_are_unit_sub_vectors_unless_their_lengths_are_wanted():
    normalised, raw = method().eval(), method(normalised_query=False).eval()
    vectors = normalised.encode_queries(seen(normalised, IMAGES)).vectors.reshape(6, 2, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    assert np.allclose(raw.encode_queries(seen(raw, IMAGES)).vectors, raw(seen(raw, IMAGES)).detach().numpy())
    assert np.array_equal(normalised.embed(seen(normalised, IMAGES)).vectors.reshape(6, 2, 64), vectors)
    assert normalised.embed(seen(normalised, IMAGES)).similarity == "dot"


def test_bf16_autocast_chooses_the_same_words_for_nearly_all_items():
    """Stated tolerance: embeddings within 0.02 of one another, 9 of 10 words the same."""
    images = normal(24, 3, 32, 32, seed=4)
    phpq = method(bits=32).train()
    loss(phpq, images, LABELS.repeat(4))  # batch statistics
    phpq.eval()
    with torch.no_grad():
        full, query = phpq.encode(seen(phpq, images)), phpq.encode_queries(seen(phpq, images))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, half_query = phpq.encode(seen(phpq, images)), phpq.encode_queries(seen(phpq, images))
    assert half.codebooks.dtype == half_query.vectors.dtype == np.float32
    assert (half.indices == full.indices).mean() > 0.9
    assert np.abs(half_query.vectors - query.vectors).max() < 0.02


def test_two_items_can_be_trained_on():
    terms = loss(method(triplet=1.0, lam_q=1.0), IMAGES[:2], LABELS[:2])
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 12}, "bits: got 12"),
        ({"kappa": 0}, "method.kappa: got 0, allowed are 1 to 256"),
        ({"kappa": 300}, "method.kappa: got 300"),
        ({"words": 8, "bits": 9}, "method.kappa: got 16, allowed are 1 to 8"),
        ({"levels": ()}, "method.levels: got"),
        ({"levels": (2, 2)}, "method.levels: got"),
        ({"levels": (0, 4)}, "method.levels: got"),
        ({"alpha": 0.0}, "method.alpha: got 0.0"),
        ({"sub_dim": 0}, "method.sub_dim: got 0"),
        ({"warm": 1.0}, "method.warm: got 1.0"),
        ({"lam_e": -1.0}, "method.lam_e: got -1.0"),
        ({"loss_q": 0.0, "loss_z": 0.0}, "method.loss_q: got 0.0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        method(**{"bits": 16, **settings})


@pytest.mark.parametrize("preset", ["default", "faithful"])
def test_presets_give_every_setting(preset):
    keywords = {p.name for p in inspect.signature(PHPQ).parameters.values() if p.kind is p.KEYWORD_ONLY}
    settings = read_preset("phpq", preset)["method"]
    assert settings.keys() == keywords
    method(**settings)


def test_twelve_bits_are_two_codebooks_of_64_words():
    PHPQ.allows_bits(12, words=64, kappa=4)
    with pytest.raises(InputError, match="bits: got 12"):
        PHPQ.allows_bits(12)
    assert (
        method(bits=12, words=64).eval().encode(seen(method(bits=12, words=64).eval(), IMAGES)).bits_per_item
        == 12
    )


class Watch(pl.Callback):
    """The words at the start of each epoch and at the end, and what was logged until then."""

    def __init__(self):
        self.words, self.logged = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.words.append(pl_module.quantizer.keys.detach().clone())
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_train_end(self, trainer, pl_module):
        self.on_train_epoch_start(trainer, pl_module)


SMALL = {"words": 16, "sub_dim": 8, "kappa": 4, "bits": 8}
DATA = {"size": 32, "n_items": 16}


def test_words_rest_during_the_warm_start_then_come_from_embeddings_and_learn():
    watch, phpq = Watch(), method(**SMALL, warm=0.5, reseed_until=0.0)
    train(phpq, TinyData(**DATA), 4, callbacks=[EpochTerms(), watch])
    changes = [not torch.allclose(a, b, atol=1e-5) for a, b in itertools.pairwise(watch.words)]
    assert changes == [False, True, True, True]  # k-means at the end of the second epoch
    assert [terms["train/quantized"] > 0 for terms in watch.logged[1:]] == [False, False, True, True]
    assert [("train/used_codewords" in terms) for terms in watch.logged[1:]] == [False, False, True, True]
    assert all(torch.allclose(words.norm(dim=-1), torch.ones(2, 16), atol=1e-5) for words in watch.words)


@pytest.mark.parametrize(("until", "revived"), [(0.0, False), (1.0, True)])
def test_dead_words_are_drawn_anew_while_it_is_time(until, revived):
    phpq = method(**SMALL, init="gaussian", reseed_until=until, loss_q=0.0)
    lost = torch.full((8,), -1.0)
    with torch.no_grad():
        phpq.quantizer.keys[0] = nn.functional.normalize(lost, dim=0)  # equal words: the first takes all
    train(phpq, TinyData(**DATA), 2)
    assert (len(phpq.quantizer.keys[0].detach().round(decimals=3).unique(dim=0)) > 1) == revived


def test_words_do_not_decay_and_have_their_own_rate():
    phpq = method(**SMALL, codebook_multiple=0.5)
    trainer = train(phpq, TinyData(**DATA), 1)
    groups = {group["name"]: group for group in trainer.optimizers[0].param_groups}
    assert groups["codebooks"]["weight_decay"] == 0
    assert groups["codebooks"]["lr"] == pytest.approx(groups["head"]["lr"] * 0.5)
    counted = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(counted) == sorted({id(p) for p in phpq.parameters()})


def test_idle_words_are_reported_at_the_end():
    phpq = method(bits=8)
    phpq.usage.add(torch.zeros(600, 1, dtype=torch.long))
    with pytest.warns(UserWarning, match="phpq: only 1 of 256 codewords"):
        phpq.on_train_end()


def test_a_resumed_training_ends_with_the_same_words(tmp_path):
    """The checkpoint is that of the epoch whose end set the words by k-means."""
    whole, resumed = (method(**SMALL, warm=0.3, seed=seed) for seed in (0, 9))
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    train(whole, TinyData(**DATA), 3, callbacks=[EpochDraws(0), keep], folder=tmp_path)
    last = str(tmp_path / "epoch=0.ckpt")
    train(resumed, TinyData(**DATA), 3, checkpoint=last, callbacks=[EpochDraws(0)], folder=tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
