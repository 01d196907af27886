"""What every registered method must do, and every new one is tested for with no new code."""

import numpy as np
import pytest
import torch

from contract import CLOSED_FORM, TRAINED, tiny_data, tiny_method
from fghash.batch import Batch
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
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
    assert "\n" not in info.summary + info.certainty + info.notes


@pytest.mark.parametrize("name", sorted(METHODS))
def test_impossible_lengths_are_refused(name):
    for bits in (0, -8):
        with pytest.raises(InputError, match=str(bits)):
            METHODS[name].load().allows_bits(bits)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_values_are_what_codes_are_made_of(name, data, batch):
    """A graph of a method is cut at them."""
    method = tiny_method(name, data).eval()
    with torch.no_grad():
        features = method.read(batch).features
        codes, queries = method.encode(features), method.encode_queries(features)
        values, asked = method.code_values(features), method.query_values(features)
    if isinstance(codes, BinaryCodes):
        assert np.array_equal(values.numpy() >= 0, codes.bits)
        assert np.array_equal(asked.numpy() >= 0, queries.bits)
        return
    own = codes.indices if isinstance(codes, QuantizedCodes) else codes.vectors
    assert np.array_equal(values.numpy(), own)
    assert np.array_equal(asked.float().numpy(), queries.vectors)


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_codes_have_the_budget_and_their_prefixes_theirs(name, bits, data, batch):
    if not allowed(name, bits):
        pytest.skip("not a length of this method")
    method = tiny_method(name, data, bits).eval()
    with torch.no_grad():
        features = method.read(batch).features
        codes, queries = method.encode(features), method.encode_queries(features)
    assert len(codes) == len(queries) == len(batch.images)
    assert codes.bits_per_item == method.code_lengths()[-1]
    assert isinstance(codes, RealCodes) or codes.bits_per_item == bits
    assert len(method.code_lengths()) == 1 or METHODS[name].nested
    if len(method.code_lengths()) == 1:
        return
    assert [codes.prefix(n).bits_per_item for n in method.code_lengths()] == list(method.code_lengths())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_encoding_an_item_does_not_depend_on_its_batch(name, data, batch):
    method = tiny_method(name, data).eval()
    with torch.no_grad():
        first = Batch(batch.images[2:3], batch.labels[2:3], batch.index[2:3])
        together, alone = (method.encode(method.read(each).features) for each in (batch, first))
    if isinstance(alone, QuantizedCodes):  # of coinciding codewords any is as good
        assert np.allclose(alone.decode()[0], together.decode()[2], atol=1e-4)
        return
    compared = [
        key for key, value in vars(alone).items() if isinstance(value, np.ndarray) and len(value) == 1
    ]
    assert compared
    for key in compared:
        assert np.allclose(vars(alone)[key][0], vars(together)[key][2], atol=1e-4)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_real_embedding_comes_with_its_similarity(name, data, batch):
    method = tiny_method(name, data).eval()
    with torch.no_grad():
        features = method.read(batch).features
        embedding = method.embed(features)
        if embedding is None:
            pytest.skip("no real embedding")
        codes, same = method.encode_and_embed(features, queries=False)
    assert embedding.similarity in ("cosine", "dot", "l2")
    assert embedding.vectors.shape[0] == len(batch.images)
    assert np.isfinite(embedding.vectors).all()
    assert np.array_equal(embedding.vectors, same.vectors)
    assert len(codes) == len(batch.images)


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_sees_features_only(name, data, batch):
    """Features that were computed before give what images give: loss, codes and embedding."""
    method = tiny_method(name, data).eval()
    data.train_order = method.train_sampler(data.train_labels)
    if data.train_order is not None:
        method.on_train_epoch_start()
    read = method.read(batch)
    assert read.images is None
    again = method.read(read)
    assert again.features.maps.keys() == set(method.reads.levels)
    assert (again.features.pooled is not None) == method.reads.pooled
    method.backbone = None
    terms, others = method.loss(read), method.loss(again)
    assert terms
    assert all(torch.equal(terms[key], others[key]) for key in terms)
    assert len(method.encode(again.features)) == len(batch.labels)


@pytest.mark.parametrize("labels", ["different", "equal"])
@pytest.mark.parametrize("name", TRAINED)
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
    terms = method.loss(method.read(Batch(images, chosen[: len(images)], batch.index[: len(images)])))
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
        first, second = (each.encode(each.read(batch).features) for each in (method, other))
    for key, value in vars(first).items():
        assert np.array_equal(value, vars(second)[key])


@pytest.mark.parametrize("name", TRAINED)
def test_optimisers_hold_every_trained_parameter_once(name, data):
    """Head and backbone are disjoint, and nothing that learns is left out."""
    method = tiny_method(name, data)
    method.schedule = lambda optimizer: None
    found = method.configure_optimizers()
    found = [each["optimizer"] for each in (found if isinstance(found, tuple) else (found,))]
    held = [id(p) for each in found for group in each.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in method.parameters() if p.requires_grad}
    head = {id(p) for p in method.head_parameters()}
    assert head
    assert not head & {id(p) for p in method.backbone.parameters()}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_registry_knows_what_is_fitted_in_closed_form(name, data):
    assert tiny_method(name, data).closed_form == METHODS[name].closed_form


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_a_method_in_closed_form_sees_features_only(name, data, batch):
    method = tiny_method(name, data).eval()
    read = method.read(batch)
    before = method.encode(read.features)
    method.backbone = None
    after = method.encode(read.features)
    assert all(np.array_equal(value, vars(after)[key]) for key, value in vars(before).items())
    with pytest.raises(NotImplementedError, match="has no loss"):
        method.loss(read)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_a_fit_in_closed_form_depends_on_the_seed_alone(name, data, batch):
    first, second = (tiny_method(name, data).eval() for _ in range(2))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_trained_has_no_closed_form(name, data):
    with pytest.raises(NotImplementedError, match="is trained by its loss"):
        tiny_method(name, data).fit_closed_form(torch.zeros(2, 3), torch.zeros(2))
