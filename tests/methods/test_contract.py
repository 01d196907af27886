"""What every registered method must do, and every new one is tested for with no new code."""

import numpy as np
import pytest
import torch

from contract import tiny_data, tiny_method
from fghash.batch import Batch
from fghash.errors import InputError
from fghash.registry import METHODS

LENGTHS = (12, 16, 32, 48)
CASES = [(name, bits) for name in sorted(METHODS) for bits in LENGTHS]


@pytest.fixture(scope="module")
def data():
    return tiny_data()


@pytest.fixture(scope="module")
def batch(data):
    return next(iter(data.train_dataloader()))


def allowed(name, bits):
    try:
        METHODS[name].load().allows_bits(bits)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_registry_says_what_a_method_is(name):
    info = METHODS[name]
    assert info.summary
    assert info.certainty
    assert "\n" not in info.summary + info.certainty + info.notes


@pytest.mark.parametrize("name", sorted(METHODS))
def test_impossible_lengths_are_refused(name):
    for bits in (0, -8):
        with pytest.raises(InputError, match=str(bits)):
            METHODS[name].load().allows_bits(bits)


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_codes_have_the_budget_and_their_prefixes_theirs(name, bits, data, batch):
    if not allowed(name, bits):
        pytest.skip("not a length of this method")
    method = tiny_method(name, data, bits).eval()
    with torch.no_grad():
        codes = method.encode(batch.images)
        queries = method.encode_queries(batch.images)
    assert len(codes) == len(queries) == len(batch.images)
    assert codes.bits_per_item == bits
    assert method.code_lengths()[-1] == bits
    assert [codes.prefix(n).bits_per_item for n in method.code_lengths()] == list(method.code_lengths())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_encoding_an_item_does_not_depend_on_its_batch(name, data, batch):
    method = tiny_method(name, data).eval()
    with torch.no_grad():
        together, alone = method.encode(batch.images), method.encode(batch.images[2:3])
    for key, value in vars(alone).items():
        if isinstance(value, np.ndarray) and len(value) == 1:
            assert np.allclose(value[0], vars(together)[key][2], atol=1e-4)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_real_embedding_comes_with_its_similarity(name, data, batch):
    method = tiny_method(name, data).eval()
    with torch.no_grad():
        embedding = method.embed(batch.images)
    assert embedding is not None, "map_real needs embed()"
    assert len(embedding) == len(batch.images)


@pytest.mark.parametrize("labels", ["different", "equal"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_loss_of_a_one_sided_batch_is_finite(name, labels):
    data = tiny_data()
    method = tiny_method(name, data).train()
    data.train_order = method.train_sampler(data.train_labels)
    if data.train_order is not None:
        method.on_train_epoch_start()  # methods with an order of their own begin a subset there
    batch = next(iter(data.train_dataloader()))
    n = len(batch.images)
    chosen = torch.arange(n) % data.num_classes if labels == "different" else torch.zeros(n, dtype=torch.long)
    images = batch.images[: data.num_classes] if labels == "different" else batch.images
    terms = method.loss(Batch(images, chosen[: len(images)], batch.index[: len(images)]))
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_state_of_a_method_gives_its_codes_back(name, data, batch, tmp_path):
    method = tiny_method(name, data).eval()
    torch.save(method.state_dict(), tmp_path / "state.pth")
    torch.manual_seed(99)
    other = tiny_method(name, data).eval()
    for parameter in other.parameters():
        parameter.data.normal_()
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    with torch.no_grad():
        first, second = method.encode(batch.images), other.encode(batch.images)
    for key, value in vars(first).items():
        assert np.array_equal(value, vars(second)[key])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_head_and_backbone_parameters_are_apart_and_complete(name, data):
    method = tiny_method(name, data)
    head = {id(p) for p in method.head_parameters()}
    backbone = {id(p) for p in method.backbone.parameters()}
    assert head
    assert not head & backbone
