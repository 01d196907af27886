"""SPQ, DVSQ and DTQ: their losses against loops, and the turns of codes and codebooks."""

import itertools

import numpy as np
import pytest
import torch
from fghash_baselines.deep import composite, dtq, dvsq, spq
from fghash_baselines.shallow.additive import summed

from fghash.errors import InputError
from fghash.registry import METHODS
from tiny_training import TinyData, tiny_method, train

GENERATOR = torch.Generator().manual_seed(4)


def test_the_soft_vector_is_the_mean_word_and_the_hard_one_the_most_probable():
    p = torch.rand(3, 2, 4, generator=GENERATOR, dtype=torch.float64)
    p = (p / p.sum(2, keepdim=True)).requires_grad_()
    codebooks = torch.randn(2, 4, 3, generator=GENERATOR, dtype=torch.float64)
    soft, hard = spq.soft_and_hard(p, codebooks)
    for item, book in itertools.product(range(3), range(2)):
        mean = sum(p[item, book, word].item() * codebooks[book, word] for word in range(4))
        best = codebooks[book, max(range(4), key=lambda word: p[item, book, word].item())]
        assert torch.allclose(soft[item, 3 * book : 3 * book + 3], mean)
        assert torch.allclose(hard[item, 3 * book : 3 * book + 3], best)
    (gradient,) = torch.autograd.grad(hard.sum(), p, retain_graph=True)
    assert torch.equal(gradient, torch.autograd.grad(soft.sum(), p)[0])


def test_the_central_and_gini_terms_are_loops():
    vectors, centres = (torch.randn(4, 3, generator=GENERATOR) for _ in range(2))
    rows = zip(vectors.tolist(), centres.tolist(), strict=True)
    distances = [sum((a - b) ** 2 for a, b in zip(x, o, strict=True)) / 2 for x, o in rows]
    assert float(spq.central_loss(vectors, centres)) == pytest.approx(np.mean(distances), rel=1e-5)
    p = torch.rand(4, 2, 3, generator=GENERATOR)
    batch = [sum(np.mean([p[i, m, k].item() for i in range(4)]) ** 2 for k in range(3)) for m in range(2)]
    assert float(spq.gini_of_batch(p)) == pytest.approx(np.mean(batch), rel=1e-5)
    items = [sum(x * x for x in p[i, m].tolist()) for i, m in itertools.product(range(4), range(2))]
    assert float(spq.gini_of_items(p)) == pytest.approx(-np.mean(items), rel=1e-5)


def test_dvsqs_and_dtqs_gaps_are_loops():
    z, decoded, labels = (torch.randn(n, 3, generator=GENERATOR) for n in (4, 4, 2))
    inner, squares = [], []
    for x, y in zip((z - decoded).tolist(), range(4), strict=True):
        squares.append(sum(value**2 for value in x))
        inner += [sum(a * b for a, b in zip(x, v, strict=True)) ** 2 for v in labels.tolist()]
        assert y < 4
    assert float(dvsq.inner_product_gap(z, decoded, labels)) == pytest.approx(np.mean(inner), rel=1e-5)
    assert float(dtq.squared_gap(z, decoded)) == pytest.approx(np.mean(squares), rel=1e-5)


@pytest.mark.parametrize("method_class", [dvsq.DVSQ, dtq.DTQ])
def test_codes_and_codebooks_follow_the_embeddings(method_class):
    method = tiny_method(method_class, bits=12, words=8, dimensions=6)
    method.train_sampler(np.arange(40) % 4)
    method.embeddings = torch.randn(40, 6, generator=GENERATOR)
    errors = []
    for _ in range(5):
        method.requantize()
        decoded = summed(method.indices, method.codebooks)
        errors.append(float((method.embeddings - decoded).square().sum()))
    assert all(after <= before * (1 + 1e-4) for before, after in itertools.pairwise(errors))
    assert errors[-1] < errors[0]
    assert bool(method.found)


@pytest.mark.parametrize("name", ["dvsq", "dtq"])
def test_the_gap_counts_once_there_are_codes_and_training_closes_it(name):
    method = tiny_method(METHODS[name].load(), bits=8, words=16, dimensions=8, start=0.5)
    data = TinyData()
    terms = []
    method.on_train_batch_end = lambda *_: terms.append(bool(method.found))
    train(method, data, 4)
    assert terms[0] is False
    assert terms[-1] is True
    assert method.embeddings.abs().sum(1).min() > 0
    state = {key: value.clone() for key, value in method.state_dict().items()}
    other = tiny_method(METHODS[name].load(), bits=8, words=16, dimensions=8, seed=9)
    other.load_state_dict(state)
    assert torch.equal(other.indices, method.indices)
    with pytest.raises(RuntimeError, match="codebooks"):
        tiny_method(METHODS[name].load(), bits=12, words=16, dimensions=8).load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("spq", {"part": 0}), ("spq", {"sharpness": 0.0}), ("spq", {"central_weight": -1.0}),
        ("spq", {"gini_weight": -1.0}), ("dvsq", {"dimensions": 0}), ("dvsq", {"start": 1.0}),
        ("dvsq", {"quantisation_weight": -1.0}), ("dtq", {"margin": 0.0}), ("dtq", {"words": 5}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        tiny_method(METHODS[name].load(), **settings)


def test_a_composite_method_says_what_is_missing():
    assert composite.CompositeMethod.__abstractmethods__ == {"supervision", "gap"}
