"""The code step against exhaustive search, the soft similarity against plain loops, and the bookkeeping."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fghash.batch import Batch
from fghash.errors import InputError
from fghash.layers import asymmetric
from fghash.layers.asymmetric import (
    Alternation,
    asymmetric_loss,
    code_step,
    draw_subset,
    similar_pairs,
    similar_sums,
)


def alike(a, b):
    return any(x and y for x, y in zip(a, b, strict=True)) if isinstance(a, list) else a == b


def soft_similarity(labels, others):
    """S by its definition: 1 and -N1/N0, pair by pair."""
    matrix = [[1.0 if alike(a, b) else 0.0 for b in others] for a in labels]
    similar = sum(map(sum, matrix))
    dissimilar = len(labels) * len(others) - similar
    return [[s if s else -similar / max(dissimilar, 1) for s in row] for row in matrix]


def objective(outputs, codes, similarity, drawn, gamma):
    """sum_ij (u_i . v_j - q S_ij)^2 + gamma sum_i |v_i - u_i|^2, term by term."""
    q, total = len(codes[0]), 0.0
    for i, u in enumerate(outputs):
        for j, v in enumerate(codes):
            total += (sum(a * b for a, b in zip(u, v, strict=True)) - q * similarity[i][j]) ** 2
        total += gamma * sum((a - b) ** 2 for a, b in zip(codes[drawn[i]], u, strict=True))
    return total


def problem(seed):
    generator = np.random.default_rng(seed)
    n, q, m = int(generator.integers(4, 7)), int(generator.integers(2, 5)), int(generator.integers(2, 4))
    labels = generator.integers(0, 3, n)
    drawn = generator.permutation(n)[:m]
    outputs = np.tanh(generator.normal(size=(m, q)))
    codes = generator.integers(0, 2, (n, q)) * 2.0 - 1
    gamma = float(generator.choice([0.0, 0.7, 20.0]))
    return labels, drawn, outputs, codes, gamma


@pytest.mark.parametrize("seed", range(100))
def test_each_column_becomes_its_exhaustive_optimum_and_the_objective_never_increases(seed):
    labels, drawn, outputs, codes, gamma = problem(seed)
    n, q = codes.shape
    similarity = soft_similarity(labels[drawn].tolist(), labels.tolist())
    attraction = q * np.asarray(similarity).T @ outputs
    attraction[drawn] += gamma * outputs
    swept = code_step(
        torch.tensor(codes), torch.tensor(attraction), torch.tensor(outputs.T @ outputs)
    ).numpy()
    current, before = codes.copy(), objective(outputs, codes, similarity, drawn, gamma)
    for bit in range(q):
        trials = []
        for column in itertools.product([-1.0, 1.0], repeat=n):
            trial = current.copy()
            trial[:, bit] = column
            trials.append(objective(outputs, trial, similarity, drawn, gamma))
        current[:, bit] = swept[:, bit]
        after = objective(outputs, current, similarity, drawn, gamma)
        assert after == pytest.approx(min(trials), rel=1e-9)
        assert after <= before + 1e-9
        before = after


def test_an_entry_whose_argument_is_zero_keeps_its_value():
    codes = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert torch.equal(code_step(codes, torch.zeros(2, 2), torch.zeros(2, 2)), codes)


def labels_of(kind, n, seed):
    generator = torch.Generator().manual_seed(seed)
    if kind == "classes":
        return torch.randint(0, 4, (n,), generator=generator)
    return torch.randint(0, 3, (n, 5), generator=generator) == 0


@pytest.mark.parametrize("kind", ["classes", "multi-hot"])
def test_pairs_sums_and_loss_equal_the_loops(kind, monkeypatch):
    monkeypatch.setattr(asymmetric, "_BLOCK", 30)
    few, many = labels_of(kind, 6, 0), labels_of(kind, 11, 1)
    outputs = torch.tanh(torch.randn(6, 3, generator=torch.Generator().manual_seed(2)))
    codes = torch.randint(0, 2, (11, 3), generator=torch.Generator().manual_seed(3)) * 2.0 - 1
    matrix = [[alike(a, b) for b in many.tolist()] for a in few.tolist()]
    assert similar_pairs(many, few) == similar_pairs(few, many) == sum(map(sum, matrix))
    sums = [[sum(outputs[i, k] for i in range(6) if matrix[i][j]) for k in range(3)] for j in range(11)]
    assert torch.allclose(
        similar_sums(outputs, few, many), torch.tensor(sums, dtype=torch.float32), atol=1e-6
    )
    similarity = soft_similarity(few.tolist(), many.tolist())
    contrast = -min(map(min, similarity))
    expected = objective(outputs.tolist(), codes.tolist(), similarity, range(6), 0.0) / 66
    found = asymmetric_loss(outputs, codes, torch.tensor(matrix), contrast)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def alternation(labels, *, bits=6, subset=100, inner=0.25, epochs=8, seed=0, **settings):
    torch.manual_seed(seed)
    state = Alternation(bits, subset, inner, **settings)
    sampler = state.start(labels)
    state.plan(epochs)
    return state, sampler


@pytest.mark.parametrize("kind", ["classes", "multi-hot"])
@pytest.mark.parametrize("gamma", [0.0, 5.0])
def test_a_whole_iteration_equals_the_dense_computation(kind, gamma):
    labels = labels_of(kind, 15, 4)
    state, _ = alternation(labels.numpy(), gamma=gamma)
    state.begin(0)
    drawn = state.positions(0)
    outputs = torch.tanh(torch.randn(7, 6, generator=torch.Generator().manual_seed(5)))
    shuffled = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    batch = Batch(torch.empty(7), labels[drawn[shuffled]], torch.tensor(drawn[shuffled]))
    before = state.codes.clone()
    terms = state.terms(outputs[shuffled], batch)
    similarity = np.asarray(soft_similarity(labels[drawn].tolist(), labels.tolist()))
    assert similarity.sum() == pytest.approx(0, abs=1e-9)
    expected = objective(outputs.tolist(), before.tolist(), similarity, drawn, gamma) * (12 / 6) / (7 * 15)
    assert float(sum(terms.values())) == pytest.approx(expected, rel=1e-5)
    attraction = 6 * similarity.T @ outputs.double().numpy()
    attraction[drawn] += gamma * outputs.numpy()
    dense = code_step(before.double(), torch.tensor(attraction), outputs.double().T @ outputs.double())
    state.step()
    assert torch.equal(state.codes.double(), dense)
    assert int(state.steps) == 1


def test_the_subset_is_at_most_half_and_a_function_of_seed_and_iteration():
    assert [len(draw_subset(n, 2000, 0, 0)) for n in (1, 5, 100, 4000, 5994)] == [1, 2, 50, 2000, 2000]
    assert sorted(draw_subset(50, 50, 7, 3)) == sorted(set(draw_subset(50, 50, 7, 3)))
    assert draw_subset(50, 9, 7, 3).tolist() == draw_subset(50, 9, 7, 3).tolist()
    assert draw_subset(50, 9, 7, 3).tolist() != draw_subset(50, 9, 7, 4).tolist()
    assert draw_subset(50, 9, 7, 3).tolist() != draw_subset(50, 9, 8, 3).tolist()


def test_the_sampler_walks_through_the_subset_of_the_iteration():
    state, sampler = alternation(np.arange(20) % 4, subset=8)
    passes = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        state.begin(epoch)
        passes.append(list(sampler))
        assert len(sampler) == len(passes[-1]) == 8
        assert [int(state.rows[i]) for i in state.positions(epoch)] == list(range(8))
        assert int((state.rows >= 0).sum()) == 8
        assert sorted(passes[-1]) == sorted(state.positions(epoch))
    assert sorted(passes[0]) == sorted(passes[1]) != sorted(passes[2])
    assert passes[0] != passes[1]


@pytest.mark.parametrize(
    ("inner", "epochs", "inner_epochs", "iterations", "ends"),
    [
        (0.01, 2000, 20, 100, [19, 39, 1999]),
        (0.02, 150, 3, 50, [2, 5, 149]),
        (0.01, 30, 1, 30, [0, 1, 29]),
        (0.4, 10, 4, 3, [3, 7, 9]),
        (1.0, 5, 5, 1, [4]),
    ],
)
def test_the_calendar_is_made_of_fractions(inner, epochs, inner_epochs, iterations, ends):
    state, _ = alternation(np.arange(10), inner=inner, epochs=epochs)
    assert (state.inner_epochs, state.iterations) == (inner_epochs, iterations)
    assert all(state.ends(epoch) for epoch in ends)
    assert sum(state.ends(epoch) for epoch in range(epochs)) == iterations


def test_only_the_first_epoch_of_an_iteration_begins_anew_and_the_latest_output_stays():
    state, _ = alternation(np.arange(12) % 3, subset=5)
    state.begin(0)
    item = int(state.positions(0)[2])
    outside = next(i for i in range(12) if i not in state.positions(0))
    state.record(torch.tensor([item, outside]), torch.full((2, 6), 0.5))
    state.record(torch.tensor([item]), torch.full((1, 6), 0.25))
    state.begin(1)
    assert state.outputs[2].tolist() == [0.25] * 6
    assert float(state.outputs.abs().sum()) == pytest.approx(6 * 0.25)
    state.begin(2)
    assert float(state.outputs.abs().sum()) == 0


def test_random_signs_at_the_start_and_those_of_a_checkpoint_afterwards():
    state, _ = alternation(np.arange(400) % 4)
    assert set(state.codes.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(state.codes.mean())) < 0.1
    state.begin(0)
    state.record(torch.tensor(state.positions(0)), torch.rand(100, 6) - 0.5)
    state.step()
    torch.manual_seed(99)
    other = Alternation(6, 100, 0.25)
    other.load_state_dict(state.state_dict())
    other.start(np.arange(400) % 4)
    for name, value in state.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    with pytest.raises(InputError, match="400 items, the data have 399"):
        other.start(np.arange(399) % 4)


class Largest(TorchDispatchMode):
    """The most entries any tensor had that was made within the context."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return out


def test_nothing_of_subset_times_items_is_ever_built_at_the_size_of_nabirds():
    n, m, q, b = 23_929, 4_000, 48, 64
    with Largest() as largest:
        state, _ = alternation(np.arange(n) % 555, bits=q, subset=m)
        state.begin(0)
        index = torch.tensor(state.positions(0)[:b])
        outputs = torch.rand(b, q, requires_grad=True)
        sum(state.terms(outputs, Batch(torch.empty(b), state.labels[index], index)).values()).backward()
        state.step()
    assert largest.entries <= n * max(q, b)
    assert largest.entries < m * n / 50


@pytest.mark.parametrize("labels", [np.zeros(8, np.int64), np.arange(8)])
def test_one_class_or_no_similar_pair_is_finite(labels):
    state, _ = alternation(labels)
    state.begin(0)
    index = torch.tensor(state.positions(0))
    outputs = torch.rand(len(index), 6, requires_grad=True)
    loss = state.terms(outputs, Batch(torch.empty(4), state.labels[index], index))["similarity"]
    loss.backward()
    state.step()
    assert math.isfinite(loss.item())
    assert torch.isfinite(outputs.grad).all()
    assert set(state.codes.abs().unique().tolist()) == {1.0}


def test_half_precision_outside_does_not_reach_the_products():
    outputs, codes = torch.rand(4, 48), torch.ones(9, 48)
    same = torch.zeros(4, 9, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        inside = asymmetric_loss(outputs, codes, same, 0.1)
    assert torch.equal(inside, asymmetric_loss(outputs, codes, same, 0.1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subset": 0}, "method.subset: got 0"),
        ({"inner": 0.0}, "method.inner: got 0.0"),
        ({"inner": 1.5}, "got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Alternation(6, **{"subset": 10, "inner": 0.5, **settings})
