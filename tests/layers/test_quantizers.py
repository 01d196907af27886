"""What quantizers share: bit budgets, exact similarities, k-means, words in use."""

import math
import re

import pytest
import torch

from fghash.errors import InputError
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.quantizers import (
    Latest,
    WordUsage,
    codebooks_for,
    cosine,
    from_first_process,
    k_means,
    nearness,
    reseed,
    unit,
)
from fghash.layers.requirements import require


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("bits", "words", "count"), [(8, 256, 1), (32, 256, 4), (12, 64, 2), (5, 2, 5), (16, 65536, 1)]
)
def test_the_bits_of_a_word_divide_the_budget(bits, words, count):
    assert codebooks_for(bits, words) == count


@pytest.mark.parametrize(
    ("bits", "words", "message"),
    [
        (12, 256, "bits: got 12, allowed with 256 codewords are multiples of 8: 8, 16, 24, 32, ..."),
        (0, 256, "bits: got 0"),
        (-8, 256, "bits: got -8"),
        (12, 100, "method.words: got 100, allowed are powers of two from 2 to 65536"),
        (12, 1, "method.words: got 1"),
        (17, 2**17, "method.words: got 131072"),
    ],
)
def test_other_budgets_are_refused_in_one_line(bits, words, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        codebooks_for(bits, words)
    assert "\n" not in str(error.value)


def test_a_refusal_names_setting_value_and_what_is_allowed():
    require(True, "kappa", 3, "1 to 8")
    with pytest.raises(InputError, match=r"method\.kappa: got 9, allowed are 1 to 8"):
        require(False, "kappa", 9, "1 to 8")


def test_scores_equal_the_loop():
    points, centres = torch.randn(5, 3, generator=seeded()), torch.randn(4, 3, generator=seeded(1))
    for i, p in enumerate(points.tolist()):
        for j, c in enumerate(centres.tolist()):
            dot = sum(a * b for a, b in zip(p, c, strict=True))
            lengths = math.hypot(*p) * math.hypot(*c)
            assert float(cosine(points, centres)[i, j]) == pytest.approx(dot / lengths, abs=1e-6)
            apart = sum((a - b) ** 2 for a, b in zip(p, c, strict=True))
            assert float(nearness(points, centres)[i, j]) == pytest.approx(-apart, abs=1e-5)


def test_a_zero_vector_gives_neither_nan_nor_an_infinite_gradient():
    vectors = torch.zeros(2, 3, requires_grad=True)
    cosine(vectors, torch.randn(4, 3, generator=seeded())).sum().backward()
    assert unit(vectors).tolist() == [[0.0] * 3] * 2
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("score", [cosine, nearness])
def test_similarities_are_those_of_float32_under_autocast(score):
    points, centres = torch.randn(8, 16, generator=seeded()), torch.randn(6, 16, generator=seeded(1))
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(points):
        found = score(points, centres)
    assert found.dtype == torch.float32
    assert torch.equal(found, score(points, centres))


def test_float64_stays_and_bfloat16_becomes_float32():
    assert at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32


def clusters(apart=10.0, each=20):
    directions = apart * torch.eye(4)
    return (directions[:, None] + 0.1 * torch.randn(4, each, 4, generator=seeded())).flatten(0, 1)


@pytest.mark.parametrize("score", [cosine, nearness])
def test_k_means_ends_where_each_centre_is_the_mean_of_its_points(score):
    points = clusters()
    centres = k_means(points, 6, score=score, seed=3)
    nearest = score(points, centres).argmax(dim=1)
    for centre in nearest.unique():
        assert torch.allclose(centres[centre], points[nearest == centre].mean(dim=0), atol=1e-4)


def test_k_means_depends_on_its_seed_and_on_nothing_else():
    points = torch.randn(60, 5, generator=seeded())
    torch.manual_seed(1)
    first = k_means(points, 8, seed=4)
    torch.manual_seed(2)
    assert torch.equal(first, k_means(points, 8, seed=4))
    assert not torch.equal(first, k_means(points, 8, seed=5))


def test_k_means_of_fewer_points_than_words_keeps_every_point():
    points = torch.eye(3)
    centres = k_means(points, 8, seed=0)
    assert centres.shape == (8, 3)
    assert torch.allclose((cosine(points, centres)).amax(dim=1), torch.ones(3), atol=1e-6)


def test_only_dead_words_are_drawn_anew_and_from_the_candidates():
    codebooks = torch.zeros(2, 4, 3)
    dead = torch.tensor([[True, False, True, False], [False, False, False, True]])
    candidates = 1 + torch.rand(5, 2, 3, generator=seeded())
    found = reseed(codebooks, dead, candidates, seed=0)
    assert (found[~dead] == 0).all()
    for book, word in dead.nonzero().tolist():
        assert any(torch.equal(found[book, word], candidate[book]) for candidate in candidates)
    assert torch.equal(found, reseed(codebooks, dead, candidates, seed=0))
    assert (codebooks == 0).all()
    assert torch.equal(codebooks, reseed(codebooks, torch.zeros(2, 4, dtype=torch.bool), candidates, seed=0))


def test_one_process_keeps_its_values():
    assert from_first_process(torch.arange(3)).tolist() == [0, 1, 2]


def test_usage_equals_the_loop_and_survives_a_state_dict():
    usage, indices = WordUsage(2, 4), torch.tensor([[0, 1], [0, 3], [2, 3]])
    usage.add(indices[:1])
    usage.add(indices[1:])
    expected = [
        [sum(row[book] == word for row in indices.tolist()) for word in range(4)] for book in range(2)
    ]
    other = WordUsage(2, 4)
    other.load_state_dict(usage.state_dict())
    assert other.counts.tolist() == expected
    assert other.used.tolist() == [2, 2]
    assert other.dead.tolist() == [[False, True, False, True], [True, False, True, False]]
    other.reset()
    assert other.used.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("chosen", "complains"),
    [([0, 1, 2], True), ([0, 1, 2, 3], False), ([0], False), ([0, 0, 0], True), ([], False)],
)
def test_a_complaint_comes_when_fewer_than_half_of_the_words_in_reach_are_used(chosen, complains):
    usage = WordUsage(1, 8)
    usage.add(torch.tensor(chosen, dtype=torch.long).repeat(3 if len(chosen) > 2 else 1)[:, None])
    assert (usage.complaint() is not None) == complains


def test_the_latest_vectors_are_kept_without_their_gradients():
    latest, vectors = Latest(limit=4), torch.arange(9.0).requires_grad_()
    for part in vectors.split(3):
        latest.add(part)
    assert latest.vectors().tolist() == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert not latest.vectors().requires_grad
    latest.clear()
    assert len(latest) == 0
