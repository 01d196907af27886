"""The triplet loss against the plain triple loop, its gradient against autograd over all triplets."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fghash.layers.triplets import default_margin, triplet_loss


def triplets(labels):
    def alike(a, b):
        return any(x and y for x, y in zip(a, b, strict=True)) if isinstance(a, list) else a == b

    labels = labels.tolist()
    n = range(len(labels))
    return [
        (a, p, k)
        for a in n
        for p in n
        if a < p and alike(labels[a], labels[p])
        for k in n
        if not alike(labels[a], labels[k])
    ]


def loop_loss(outputs, labels, margin):
    listed = triplets(labels)
    total = outputs.sum() * 0
    for a, p, k in listed:
        near, far = ((outputs[a] - outputs[p]) ** 2).sum(), ((outputs[a] - outputs[k]) ** 2).sum()
        total = total + torch.relu(near - far + margin)
    return total / max(len(listed), 1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["classes", "multi-hot"])
def test_value_and_gradient_equal_the_loop(seed, kind):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (9,), generator=generator)
    if kind == "multi-hot":
        labels = torch.randint(0, 4, (9, 4), generator=generator) == 0
    outputs = torch.tanh(torch.randn(9, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    margin = float(torch.rand((), generator=generator) * 3)
    expected = loop_loss(outputs, labels, margin)
    (wanted,) = torch.autograd.grad(expected, outputs)
    found = triplet_loss(outputs, labels, margin)
    (gradient,) = torch.autograd.grad(found, outputs)
    assert float(expected) > 0
    assert float(found) == pytest.approx(float(expected), rel=1e-10)
    assert torch.allclose(gradient, wanted, atol=1e-12)


@pytest.mark.parametrize("labels", [torch.zeros(6, dtype=torch.long), torch.arange(6), torch.zeros(6, 3)])
def test_a_batch_without_triplets_gives_zero_and_zero_gradients(labels):
    outputs = torch.randn(6, 4, requires_grad=True)
    loss = triplet_loss(outputs, labels, 3.0)
    loss.backward()
    assert float(loss) == 0
    assert float(outputs.grad.abs().sum()) == 0


def test_satisfied_triplets_count_in_the_mean():
    outputs = torch.tensor([[1.0], [1.0], [-1.0], [1.0]])
    assert float(triplet_loss(outputs, torch.tensor([0, 0, 1, 2]), 2.0)) == pytest.approx(2.0 / 2)


class Largest(TorchDispatchMode):
    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return out


def test_triplets_are_never_listed():
    outputs, labels = torch.randn(256, 16, requires_grad=True), torch.arange(256) % 2
    with Largest() as largest:
        triplet_loss(outputs, labels, 3.0).backward()
    assert largest.entries == 256 * 256


def test_half_precision_outputs_are_compared_in_full():
    outputs = torch.randn(8, 16).bfloat16()
    labels = torch.arange(8) % 3
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(triplet_loss(outputs, labels, 8.0), triplet_loss(outputs.float(), labels, 8.0))


def test_the_margin_fits_both_known_ones():
    assert (default_margin(16), default_margin(64)) == (8.0, 20.0)
