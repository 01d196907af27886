"""ADSH: the alternation on a plain head, registered as another package's method would be."""

import pytest
import torch
from fghash_baselines import ADSH as INFO
from fghash_baselines.deep.adsh import ADSH
from pytorch_lightning.callbacks import ModelCheckpoint

from fghash.batch import Batch
from fghash.errors import InputError
from tiny_training import TinyData, tiny_method, train


def test_the_entry_names_the_class():
    assert INFO.load() is ADSH


def test_its_loss_is_the_published_objective_per_pair():
    """(sum_ij (u_i.v_j - q S_ij)^2 + gamma sum_i |v_i - u_i|^2) / (b n), as the official code divides."""
    data = TinyData()
    method = tiny_method(ADSH, scaled=False, quantisation_weight=200.0).eval()
    method.train_sampler(data.train_labels)
    method.alternation.begin(0)
    drawn = method.alternation.positions(0)[:5]
    index = torch.tensor(drawn)
    images, labels = data.pictures.images[index], data.pictures.labels[index]
    batch = method.read(Batch(images, labels, index))
    terms = method.loss(batch)
    with torch.no_grad():
        outputs = torch.tanh(method(batch.features)).tolist()
    codes, contrast, total = method.alternation.codes.tolist(), method.alternation.contrast.item(), 0.0
    for i, u in enumerate(outputs):
        for j, v in enumerate(codes):
            s = 1.0 if labels[i] == data.train_labels[j] else -contrast
            total += (sum(a * b for a, b in zip(u, v, strict=True)) - 8 * s) ** 2
        total += 200 * sum((a - b) ** 2 for a, b in zip(codes[drawn[i]], u, strict=True))
    assert sum(term.item() for term in terms.values()) == pytest.approx(total / (5 * 26), rel=1e-5)


def test_training_improves_the_learned_codes_and_a_resumed_one_gives_the_same(tmp_path):
    # of so few items the published weight of 200 would leave each with the code that it was given at random
    settings = {"inner": 0.25, "subset": 12, "quantisation_weight": 5.0}
    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = tiny_method(ADSH, **settings)
    assert whole.learned_codes() is None
    train(whole, TinyData(), 12, callbacks=[keep], folder=tmp_path)
    resumed = tiny_method(ADSH, seed=77, **settings)
    train(resumed, TinyData(), 12, checkpoint=str(tmp_path / "epoch=3.ckpt"), folder=tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    codes, labels = whole.alternation.codes, torch.tensor(TinyData().train_labels)
    alike = labels[:, None] == labels[None]
    products = codes @ codes.T
    assert products[alike].mean() > products[~alike].mean() + 2


@pytest.mark.parametrize("bits", [0, -8])
def test_lengths_that_are_none_are_refused(bits):
    with pytest.raises(InputError, match=str(bits)):
        ADSH.allows_bits(bits)
