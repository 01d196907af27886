"""The Python face: runs are made without printing, and a stored run is a model again."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from contract import WHOLE_RUNS
from fghash import api
from fghash.codes import load_codes
from fghash.errors import InputError
from fghash.registry import METHODS
from fghash.store import RunFolder
from image_folder import write_images

SETTINGS = {
    "backbone": "test_resnet", "bits": 16, "batch_size": 6, "gpus": 0, "optim": {"lr": 0.01},
    "trainer": {"max_epochs": 1, "enable_progress_bar": False},
}  # fmt: skip
DATA = {"name": "folder", "image_size": 32, "sampler": "shuffle", "num_workers": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module", params=WHOLE_RUNS)
def result(request, root, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return api.fit(SETTINGS, method=request.param, data={**DATA, "root": str(root)}, runs=runs)


def arrays(codes):
    return {key: value for key, value in vars(codes).items() if isinstance(value, np.ndarray)}


def same(first, second):
    mine, theirs = arrays(first), arrays(second)
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[key], theirs[key]) for key in mine)


def test_a_loaded_run_encodes_files_to_the_stored_codes_bit_for_bit(result, root):
    loaded = api.load_run(result.folder)
    assert not loaded.method.training
    assert loaded.class_names == ("class0", "class1", "class2")
    folder = RunFolder(result.folder)
    bits = max(record.bits for record in result.records)
    for part in ("gallery", "queries"):
        stored, _ = folder.read_codes(bits, "network", part)
        paths = [root / name for name in folder.read_items(part)]
        assert len(paths) == len(stored)
        assert same(loaded.encode(paths, queries=part == "queries"), stored)


def test_a_result_holds_the_records_and_the_budget(result):
    assert result.status == "trained"
    record = result.records[-1]
    closed_form = METHODS[record.method].closed_form
    assert (record.epochs, record.batch_size) == ((None, None) if closed_form else (1, 6))
    assert record.image_passes in ((21,) if closed_form else (6, 18))  # alternating methods have a subset
    assert record.train_seconds > 0
    assert record.stopped_by_time is (None if closed_form else False)
    assert record.preset == "default"


@pytest.fixture(scope="module")
def hashnet(root, tmp_path_factory):
    settings = {**SETTINGS, "runs": str(tmp_path_factory.mktemp("runs"))}
    return api.fit(settings, method="hashnet", data={**DATA, "root": str(root)})


def test_nothing_is_printed_and_a_repeated_run_is_found(root, tmp_path, capfd):
    settings = {**SETTINGS, "method": {"name": "hashnet"}, "data": {**DATA, "root": str(root)}}
    first = api.fit(settings, runs=tmp_path)
    again = api.fit(settings, runs=tmp_path)
    other = api.fit(settings, runs=tmp_path, cutoffs=[2])
    assert [each.status for each in (first, again, other)] == ["trained", "finished before", "scored again"]
    assert first.folder == again.folder == other.folder
    assert "map_at_2" in other.records[0].scores
    assert capfd.readouterr().out == ""
    assert list(api.leaderboard(tmp_path)["method"]) == ["hashnet", "hashnet"]


def test_arrays_tensors_and_loaders_encode_as_files_do(hashnet, root):
    loaded = api.load_run(hashnet.folder)
    paths = sorted((root / "query").glob("*/*.png"))[:5]
    expected = loaded.encode(paths)
    images = [np.asarray(Image.open(path)) for path in paths]
    assert same(loaded.encode(images), expected)
    assert same(loaded.encode(torch.from_numpy(image).permute(2, 0, 1) for image in images), expected)
    batch = torch.cat(list(loaded._transformed(paths, 5)))
    assert same(loaded.encode(DataLoader(batch, batch_size=5)), expected)
    assert same(api.encode(hashnet.folder, paths), expected)
    with pytest.raises(InputError, match="images: none"):
        loaded.encode([])
    with pytest.raises(InputError, match=r"expected \(h, w, 3\) of uint8"):
        loaded.encode([np.zeros((4, 4))])
    with pytest.raises(InputError, match=r"cannot read image nowhere\.png"):
        loaded.encode(["nowhere.png"])


def test_a_run_is_loaded_without_its_data_set_and_its_weights_file(hashnet, root, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(hashnet.folder, moved)
    config = (moved / "config.yaml").read_text().replace(str(root), "/gone")
    (moved / "config.yaml").write_text(config.replace("weights: none", "weights: /gone/weights.pth"))
    image = next((root / "query").glob("*/*.png"))
    assert same(api.load_run(moved).encode([image]), api.load_run(hashnet.folder).encode([image]))


def test_what_is_no_model_is_one_line(hashnet, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(hashnet.folder, moved)
    (moved / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        api.load_run(moved)
    (moved / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"stores no model\.safetensors: .*--force"):
        api.load_run(moved)
    (moved / "config.yaml").unlink()
    with pytest.raises(InputError, match=r"has no config\.yaml"):
        api.load_run(moved)
    with pytest.raises(InputError, match="is not the folder of a finished run"):
        api.load_run(tmp_path / "nowhere")


def test_real_embeddings_are_stored_and_give_the_same_score(hashnet, root, tmp_path):
    folder = RunFolder(hashnet.folder)
    (queries, query_labels), (gallery, labels) = (folder.read_embeddings(p) for p in ("queries", "gallery"))
    scores = api.evaluate(queries, gallery, query_labels, labels).scores
    assert scores["map"] == hashnet.records[0].scores["map_real"]
    data = {**DATA, "root": str(root)}
    without = api.fit(SETTINGS, method="hashnet", data=data, runs=tmp_path, store_embeddings=False)
    assert RunFolder(without.folder).read_embeddings("gallery") is None
    assert without.folder.name == hashnet.folder.name


def test_a_run_that_time_cut_says_so(root, tmp_path):
    trainer = {**SETTINGS["trainer"], "max_epochs": 500, "max_time": "00:00:00:01"}
    data = {**DATA, "root": str(root)}
    cut = api.fit({**SETTINGS, "trainer": trainer}, method="hashnet", data=data, runs=tmp_path)
    assert cut.records[0].stopped_by_time is True
    assert cut.records[0].epochs < 500


def test_a_run_that_time_cut_trains_on_without_the_limit(root, tmp_path):
    data, trainer = {**DATA, "root": str(root)}, {**SETTINGS["trainer"], "max_epochs": 3}
    settings = {**SETTINGS, "method": "hashnet", "data": data, "runs": tmp_path / "cut"}
    cut = api.fit({**settings, "trainer": {**trainer, "max_time": "00:00:00:00"}})
    assert (cut.records[0].stopped_by_time, cut.records[0].epochs) == (True, 0)
    whole = api.fit({**settings, "trainer": trainer})
    assert (whole.folder, whole.status) == (cut.folder, "trained")
    assert [record.stopped_by_time for record in whole.records] == [False]
    straight = api.fit({**settings, "trainer": trainer}, runs=tmp_path / "straight")
    assert whole.records[0].epochs == straight.records[0].epochs == 3
    assert whole.records[0].scores == straight.records[0].scores
    assert api.fit({**settings, "trainer": trainer}).status == "finished before"


def test_random_weights_on_real_data_are_said(root, tmp_path):
    said = []
    settings = {**SETTINGS, "data": {**DATA, "root": str(root)}, "runs": tmp_path}
    api.fit(settings, method="hashnet", say=said.append)
    (warning,) = [line for line in said if line.startswith("warning: ")]
    assert "--backbone.weights: none" in warning
    said.clear()
    generated = {"families": 2, "classes_per_family": 2, "train_images": 4, "query_images": 1}
    data = {"name": "synthetic", "sampler": "shuffle", "image_size": 32, **generated}
    api.fit({**SETTINGS, "data": data, "runs": tmp_path}, method="hashnet", say=said.append)
    assert said
    assert not [line for line in said if "random weights" in line]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "hasnet"}, "did you mean 'hashnet'"),
        ({"method": "hashnet", "data": {"rooot": 1}}, "unknown setting 'rooot'"),
        ({"method": "hashnet", "bitz": 3}, "settings: bitz|bitz: unknown setting"),
        ({}, "--method: required"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        api.fit(settings)


def test_codes_of_a_run_are_files_of_codes(hashnet):
    codes, labels = load_codes(hashnet.folder / "codes" / "16-network" / "gallery.npz")
    assert len(codes) == len(labels) == 21
