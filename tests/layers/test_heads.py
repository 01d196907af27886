"""The plain head and its small start."""

import pytest
import torch
from torch import nn

from fghash.layers.heads import PooledLinear, start_small


def test_the_head_is_a_linear_layer_on_the_pooled_features():
    torch.manual_seed(0)
    head, pooled = PooledLinear(3, 2), torch.rand(4, 3)
    for values, item in zip(head(pooled), pooled, strict=True):
        assert torch.allclose(values, head.linear.weight @ item + head.linear.bias)


@pytest.mark.parametrize("inputs", [100, 2500])
def test_outputs_begin_as_small_for_few_inputs_as_for_many(inputs):
    torch.manual_seed(0)
    values = start_small(nn.Linear(inputs, 400))(torch.randn(50, inputs))
    assert float(values.std()) == pytest.approx(0.1, rel=0.05)
