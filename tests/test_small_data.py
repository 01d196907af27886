"""Every method at its default runs on data that its preset did not have in mind."""

import numpy as np
import pytest
from PIL import Image

from contract import WHOLE_RUNS
from fghash import api
from fghash.errors import InputError
from fghash.settings.adaptation import DataFacts, adapted
from fghash.settings.resolve import configure

SETS = {"two classes": (2, 9), "a class of one": (3, 4), "five in all": (3, 0)}


def write(root, kind):
    """Classes of noise; one class has a single image where the kind says so."""
    random = np.random.default_rng(0)
    classes, many = SETS[kind]
    for label in range(classes):
        n_train = many or (2, 2, 1)[label]
        if kind == "a class of one" and label == 2:
            n_train = 1
        for split, count in (("train", n_train), ("query", 1)):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("method", WHOLE_RUNS)
def test_every_method_runs_at_its_default(method, kind, tmp_path):
    said = []
    result = api.fit(
        {"method": method, "gpus": 0, "runs": str(tmp_path / "runs"), "trainer": {"max_epochs": 1}},
        data={"name": "folder", "root": str(write(tmp_path / "images", kind)), "image_size": 64},
        say=said.append,
    )
    assert result.records[0].scores["map"] is not None
    assert any("adapted to the data" in line for line in said)


def settings(**data):
    return configure([{"method": "hashnet", "data": data}])


def test_only_what_the_user_did_not_ask_for_is_adapted():
    facts = DataFacts(40, 5, False)
    changed, lines = adapted(settings(), facts)
    assert (changed.batch_size, changed.data.settings["classes_per_batch"]) == (40, 5)
    assert len(lines) == 2
    asked, lines = adapted(settings(classes_per_batch=16), facts)
    assert (asked.batch_size, asked.data.settings["classes_per_batch"]) == (40, 16)
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("n_items", "n_classes", "multi_hot", "expected"),
    [
        (10_000, 10_000, False, (64, "pk", 16)), (100, 7, False, (64, "pk", 4)), (9, 2, False, (9, "pk", 1)),
        (8, 2, False, (8, "pk", 2)), (100, 50, True, (64, "shuffle", 16)),
    ],
)  # fmt: skip
def test_batches_can_be_filled_and_shared(n_items, n_classes, multi_hot, expected):
    config, _ = adapted(settings(), DataFacts(n_items, n_classes, multi_hot))
    data = config.data.settings
    assert (config.batch_size, data["sampler"], data["classes_per_batch"]) == expected


def test_what_the_user_asked_for_is_refused_where_it_does_not_fit(tmp_path):
    root = write(tmp_path / "images", "two classes")
    with pytest.raises(InputError, match=r"--data\.classes_per_batch: must be 1 to 2"):
        api.fit(
            {"method": "hashnet", "gpus": 0, "batch_size": 16, "runs": str(tmp_path / "runs")},
            data={"name": "folder", "root": str(root), "image_size": 64, "classes_per_batch": 16},
        )


def test_adapting_a_preset_reads_the_data_once(tmp_path, monkeypatch):
    from fghash.data.sets.folder import Folder

    reads, read = [], Folder.read
    monkeypatch.setattr(Folder, "read", lambda self: reads.append(1) or read(self))
    said = []
    api.fit(
        {"method": "hashnet", "gpus": 0, "runs": str(tmp_path / "runs"), "trainer": {"max_epochs": 1}},
        data={"name": "folder", "root": str(write(tmp_path / "images", "two classes")), "image_size": 64},
        say=said.append,
    )
    assert any("adapted to the data" in line for line in said)
    assert len(reads) == 1
