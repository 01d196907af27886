"""Vectors that somebody else computed, from files of three kinds."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fghash import api
from fghash.cli import main
from fghash.data.sets.features import read_features
from fghash.errors import InputError
from fghash.registry import METHODS

RANDOM = np.random.default_rng(0)


def arrays(classes=3, train=8, query=3, width=12):
    """A cluster a class; the labels are text."""
    labels = np.repeat(np.arange(classes), train + query)
    centres = RANDOM.standard_normal((classes, width)) * 3
    features = (centres[labels] + RANDOM.standard_normal((len(labels), width))).astype(np.float32)
    split = np.array((["train"] * train + ["test"] * query) * classes)
    return {"features": features, "labels": np.array([f"c{label}" for label in labels]), "split": split}


def write(path, **changes):
    np.savez(path, **{**arrays(), **changes})
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "own.npz")


def test_rows_labels_and_splits_are_those_of_the_file(tmp_path):
    given = arrays()
    np.savez(tmp_path / "own.npz", **given)
    splits = read_features(tmp_path / "own.npz")
    assert splits.class_names == ("c0", "c1", "c2")
    assert splits.gallery_is_train
    for name, word in (("train", "train"), ("query", "test")):
        items = getattr(splits, name)
        mine = given["split"] == word
        rows = items.source.features(items.positions).vector.numpy()
        assert np.array_equal(rows, given["features"][mine])
        assert [splits.class_names[label] for label in items.labels] == given["labels"][mine].tolist()


def test_the_other_formats_give_the_same(tmp_path):
    given = arrays()
    numbers = np.array([int(label[1:]) for label in given["labels"]])
    codes = np.array([{"train": 0, "test": 1}[split] for split in given["split"]])
    np.savez(tmp_path / "own.npz", features=given["features"], labels=numbers, split=codes)
    tensors = {"features": torch.from_numpy(given["features"]), "labels": torch.from_numpy(numbers)}
    save_file({**tensors, "split": torch.from_numpy(codes)}, tmp_path / "own.safetensors")
    first, second = (read_features(tmp_path / f"own.{kind}") for kind in ("npz", "safetensors"))
    assert first.fingerprint == second.fingerprint
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    table = pyarrow.table(
        {"features": given["features"].tolist(), "labels": numbers.tolist(), "split": given["split"].tolist()}
    )
    parquet.write_table(table, tmp_path / "own.parquet")
    assert read_features(tmp_path / "own.parquet").fingerprint == first.fingerprint


def test_a_gallery_of_its_own_and_several_labels(tmp_path):
    given = arrays()
    given["split"] = given["split"].astype("<U8")
    given["split"][:2] = "gallery"
    hot = np.eye(3, dtype=np.uint8)[[int(label[1:]) for label in given["labels"]]]
    hot[0, 2] = 1
    np.savez(tmp_path / "own.npz", **{**given, "labels": hot})
    splits = read_features(tmp_path / "own.npz")
    assert len(splits.gallery) == 2
    assert splits.gallery.labels.tolist() == [[1, 0, 1], [1, 0, 0]]


def pooled(name):
    return METHODS[name].load().reads.pooled


MAPS = ("a2net", "exchnet", "fish", "fph", "phpq", "semicon")


@pytest.mark.parametrize("name", [name for name in sorted(METHODS) if name not in MAPS])
def test_every_method_that_reads_the_pooled_vector_trains_on_them(name, file, tmp_path):
    settings = {
        "data": {"name": "features", "root": str(file)},
        "trainer": {"max_epochs": 2},
        "batch_size": 8,
    }
    bits = 12 if name.startswith("itq") else 16  # the vectors are 12 wide, and each bit needs a direction
    result = api.fit(settings, method=name, bits=bits, gpus=0, runs=str(tmp_path / "runs"))
    record = result.records[0]
    assert (record.backbone, record.data) == ("given", "features:own.npz")
    loaded = api.load_run(result.folder)
    assert len(loaded.encode(np.zeros((3, 12), np.float32))) == 3
    with pytest.raises(InputError, match=r"images: \(3, 5\), expected vectors \(n, 12\)"):
        loaded.encode(np.zeros((3, 5), np.float32))


@pytest.mark.parametrize("name", MAPS)
def test_a_method_that_reads_maps_is_refused(name, file, tmp_path):
    settings = {"data": {"name": "features", "root": str(file)}}
    with pytest.raises(InputError, match="reads maps"):
        api.fit(settings, method=name, bits=16, gpus=0, runs=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_backbone_is_refused(file, tmp_path):
    settings = {"data": {"name": "features", "root": str(file)}, "backbone": "resnet50"}
    with pytest.raises(InputError, match=r"--backbone: resnet50 .*, expected none with --data features"):
        api.fit(settings, method="hashnet", gpus=0, runs=str(tmp_path / "runs"))


def test_the_printed_config_alone_runs_again(file, tmp_path, capsys):
    words = ["fit", "--method", "classify", "--data", "features", "--data.root", str(file), "--gpus", "0"]
    words += ["--trainer.max_epochs", "1", "--batch_size", "8", "--runs", str(tmp_path / "runs")]
    assert main([*words, "--print_config"]) == 0
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    assert main(words) == 0
    capsys.readouterr()
    assert main(["fit", "--config", str(tmp_path / "run.yaml")]) == 0
    assert "finished before" in capsys.readouterr().out
    (stored,) = (tmp_path / "runs").glob("*/*/*/*/config.yaml")
    assert main(["fit", "--config", str(stored)]) == 0
    assert "finished before" in capsys.readouterr().out


def test_data_check_finds_queries_that_are_in_the_gallery(tmp_path, capsys):
    given = arrays()
    np.savez(tmp_path / "own.npz", **given)
    assert main(["data", "check", "features", "--root", str(tmp_path / "own.npz")]) == 0
    given["features"][8] = given["features"][0]  # the first query of the first class
    np.savez(tmp_path / "own.npz", **given)
    capsys.readouterr()
    assert main(["data", "check", "features", "--root", str(tmp_path / "own.npz")]) == 2
    assert "queries that are in the gallery: 1" in capsys.readouterr().out


def nan():
    features = arrays()["features"]
    features[4, 2] = np.nan
    return features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": nan()}, "NaN or infinity in row 4"),
        ({"features": np.zeros(33)}, r"expected \(n, width\)"),
        ({"features": np.zeros((33, 0))}, r"expected \(n, width\)"),
        ({"features": np.array([["a"] * 3] * 33)}, r"expected \(n, width\)"),
        ({"labels": np.zeros(7, int)}, "33 features, 7 labels, 33 splits"),
        ({"labels": np.zeros(33)}, "labels of"),
        ({"labels": np.full((33, 2), 7)}, "labels of"),
        ({"split": np.array(["train"] * 32 + ["dev"])}, "split of .* holds 'dev'"),
        ({"split": np.array(["train"] * 33)}, "no vector of split query"),
        ({"labels": np.array(["a"] * 32 + ["b"])}, "query class 'b' of .* is not in the gallery"),
    ],
)
def test_what_makes_no_sense_is_one_line(changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        read_features(write(tmp_path / "own.npz", **changes))
    assert "\n" not in str(caught.value)


def test_files_that_are_something_else_are_one_line(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "lacking.npz", features=np.zeros((2, 2)))
    (tmp_path / "table.txt").write_text("")
    np.savez(tmp_path / "pickled.npz", **{**arrays(), "labels": np.array([{}] * 33, dtype=object)})
    for name, message in (
        ("broken.npz", "cannot be read"), ("lacking.npz", "has no 'labels'"), ("table.txt", "ending in .npz"),
        ("nowhere.npz", "no file"), ("pickled.npz", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_features(tmp_path / name)
