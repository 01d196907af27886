"""--gpus and --cpus: counts, numbers of some, and what does not go together."""

import pytest

from fghash.errors import InputError
from fghash.settings.config import document
from fghash.settings.resolve import configure
from fghash.training.trainer import Devices, choose_devices


def asked(**settings):
    return configure([{"method": "hashnet", "data": "synthetic", **settings}])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("auto", None), (None, None), ("0", 0), (2, 2), ("0,2", (0, 2)), ([1, 3], (1, 3)), ("1,", (1,)),
    ],
)  # fmt: skip
def test_gpus_are_a_count_or_some(value, expected):
    assert asked(gpus=value).gpus == expected


def test_the_document_repeats_the_request():
    config = asked(gpus="0,2")
    assert document(config)["gpus"] == [0, 2]
    assert asked(gpus=document(config)["gpus"]).gpus == (0, 2)
    assert document(asked(cpus=3))["cpus"] == 3
    assert "cpus" not in document(asked())


@pytest.mark.parametrize("value", ["0,0", "a,b", ",", "-1", [], "1.5"])
def test_other_gpus_are_refused(value):
    with pytest.raises(InputError, match="gpus"):
        asked(gpus=value)


@pytest.mark.parametrize("value", [0, -1, "two", 1.5])
def test_other_cpus_are_refused(value):
    with pytest.raises(InputError, match="cpus"):
        asked(cpus=value)


def test_what_a_run_computes_on(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert choose_devices(None) == Devices("gpu", 3)
    assert choose_devices(0) == Devices("cpu", 1)
    assert choose_devices((0, 2)) == Devices("gpu", 2, (0, 2))
    assert choose_devices(None, 2) == Devices("cpu", 2)
    assert [str(choose_devices(*each)) for each in ((0,), (2,), ((2,),), (0, 4))] == [
        "the CPU", "2 GPUs", "GPU 2", "4 CPU processes",
    ]  # fmt: skip
    with pytest.raises(InputError, match="--gpus: 1,3, this machine has 3 GPUs"):
        choose_devices((1, 3))
    with pytest.raises(InputError, match="--cpus: 2 beside --gpus 1"):
        choose_devices(1, 2)
