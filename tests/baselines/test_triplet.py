"""Plain triplet hashing, registered as another package's method would be."""

import pytest
import torch
from fghash_baselines import TRIPLET
from fghash_baselines.deep.triplet import Triplet

from fghash.batch import Batch
from fghash.errors import InputError
from fghash.layers.triplets import triplet_loss
from tiny_training import tiny_method


def test_the_entry_names_the_class():
    assert TRIPLET.load() is Triplet


@pytest.mark.parametrize(("margin", "expected"), [(None, 7.0), (2.5, 2.5)])
def test_its_loss_is_the_triplet_loss_of_its_outputs(margin, expected):
    method = tiny_method(Triplet, bits=12, margin=margin).eval()
    batch = method.read(Batch(torch.randn(6, 3, 32, 32), torch.arange(6) % 2, torch.arange(6)))
    found = method.loss(batch)
    assert list(found) == ["triplet"]
    assert torch.equal(found["triplet"], triplet_loss(method(batch.features), batch.labels, expected))
    assert (method.encode(batch.features).bits == (method(batch.features) >= 0).numpy()).all()


@pytest.mark.parametrize("bits", [0, -8])
def test_lengths_that_are_none_are_refused(bits):
    with pytest.raises(InputError, match=str(bits)):
        Triplet.allows_bits(bits)
