"""CIFAR-10 from both of its formats and under both protocols."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from data.miniatures import cifar10
from fghash.data.sets.cifar10 import Cifar10, read_cifar10
from fghash.errors import InputError


@pytest.mark.parametrize("python", [False, True])
def test_official_split(tmp_path: Path, python: bool):
    labels = cifar10(tmp_path, python, per_class=6)
    splits = read_cifar10(tmp_path, "official")
    assert (len(splits.train), len(splits.query)) == (50, 10)
    assert [*splits.train.labels, *splits.query.labels] == labels.tolist()
    for items in (splits.train, splits.query):
        for k in range(len(items)):
            assert (items.read(k)[..., 0] == items.labels[k] * 20).all()
            assert items.read(k)[31, 31, 2] == 77
    assert splits.class_names[3] == "cat"


@pytest.mark.parametrize("python", [False, True])
def test_protocol_of_dpq(tmp_path: Path, python: bool):
    cifar10(tmp_path, python)
    splits = read_cifar10(tmp_path, "dpq", seed=1)
    assert splits.description == "10 classes, 5,000 train / 200 gallery / 1,000 query"
    assert np.bincount(splits.train.labels).tolist() == [500] * 10
    assert np.bincount(splits.query.labels).tolist() == [100] * 10
    names = [set(items.names) for items in (splits.train, splits.gallery, splits.query)]
    assert len(set.union(*names)) == sum(map(len, names)) == 6200
    assert all(
        (splits.query.read(k)[..., 0] == splits.query.labels[k] * 20).all() for k in range(0, 1000, 97)
    )


def test_the_seed_draws_the_split(tmp_path: Path):
    cifar10(tmp_path)
    fingerprints = [read_cifar10(tmp_path, "dpq", seed).fingerprint for seed in (0, 0, 1)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_batches(tmp_path: Path):
    cifar10(tmp_path, per_class=6)
    module = Cifar10(root=str(tmp_path), protocol="official", image_size=32, batch_size=8, num_workers=0)
    module.setup()
    assert next(iter(module.train_dataloader())).images.shape == (8, 3, 32, 32)


def test_too_few_for_the_protocol(tmp_path: Path):
    cifar10(tmp_path, per_class=6)
    with pytest.raises(InputError, match=r"--data\.protocol: dpq needs more than 600 .* airplane has 6"):
        read_cifar10(tmp_path)


def test_unknown_protocol():
    with pytest.raises(InputError, match=r"--data\.protocol: must be dpq or official, got 'adsh'"):
        Cifar10(protocol="adsh")


def test_missing_batches_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"--data\.root: .* has no data_batch_1\.bin \(or data_batch_1\)"):
        read_cifar10(tmp_path)


class Attack:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize("content", [pickle.dumps(Attack()), b"no pickle", pickle.dumps({"data": 1})])
def test_what_is_no_batch_is_refused_and_not_run(tmp_path: Path, capsys, content: bytes):
    cifar10(tmp_path, python=True, per_class=6)
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    with pytest.raises(InputError, match=r"data_batch_2: not a batch of CIFAR-10"):
        read_cifar10(tmp_path, "official")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"), [(b"x" * 3072, "not a whole number of pictures"), (b"\x0b" * 3073, "from 0 to 9")]
)
def test_broken_binary_files(tmp_path: Path, content: bytes, message: str):
    cifar10(tmp_path, per_class=6)
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_cifar10(tmp_path, "official")
