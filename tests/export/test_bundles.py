"""Bundles: the run's codes without the run, whole, without paths, and published."""

import json
import os

import numpy as np
import pytest
import yaml

from fghash import api
from fghash.cli import main
from fghash.errors import InputError
from fghash.export.bundle import portable, write_bundle
from fghash.export.hub import publish
from fghash.training import bundle_files
from fghash.training.bundle_files import fetch, verify_bundle
from image_folder import write_images
from small_runs import small_images, small_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    store = tmp_path_factory.mktemp("runs")
    return {name: small_run(store, name) for name in ("itq", "pq")}


@pytest.fixture(scope="module", params=["itq", "pq"])
def bundle(request, runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / request.param
    assert main(["export", str(runs[request.param]), "--format", "bundle", "--out", str(folder)]) == 0
    return folder, runs[request.param]


def test_a_bundle_encodes_as_its_run(bundle, tmp_path):
    folder, run = bundle
    paths = sorted(small_images(tmp_path / "images").rglob("*.png"))
    first, second = api.load_run(folder), api.load_run(run)
    assert first.encoder == second.encoder
    assert first.class_names == second.class_names
    for queries in (False, True):
        ours, theirs = (vars(each.encode(paths, queries=queries)) for each in (first, second))
        for key, value in ours.items():
            assert np.array_equal(value, theirs[key])


def test_the_card_tells_data_protocol_scores_with_intervals_and_licences(bundle):
    folder, run = bundle
    text = (folder / "README.md").read_text()
    record = api.RunFolder(run).records()[0]
    low, high = json.loads((folder / "scores.json").read_text())[0]["intervals"]["map"]
    assert f"`map` {record.scores['map']:.4f} ({low:.4f} to {high:.4f})" in text
    assert low <= record.scores["map"] <= high
    for word in (record.protocol, record.data_description, "Apache-2.0", "synthetic", "fghash encode"):
        assert word in text
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "fghash"


def test_a_bundle_of_a_bundle_is_the_same(bundle, tmp_path):
    folder, _ = bundle
    write_bundle(api.load_run(folder), tmp_path / "again")
    for name in ("config.yaml", "model.json", "model.safetensors", "scores.json", "transform.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_no_path_of_this_machine_is_in_it(tmp_path):
    root = write_images(tmp_path / "images")
    weights = tmp_path / "secret_weights.safetensors"
    from safetensors.torch import save_file

    from fghash.backbone import Backbone
    from fghash.settings.config import BackboneConfig

    state = Backbone(BackboneConfig("test_resnet")).network.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, weights)
    data = {"name": "folder", "root": str(root), "image_size": 32, "features": str(tmp_path / "secret_cache")}
    backbone = {"name": "test_resnet", "weights": str(weights)}
    run = api.fit(
        method="itq", data=data, backbone=backbone, bits=8, gpus=0, runs=str(tmp_path / "secret_runs")
    )
    write_bundle(api.load_run(run.folder), tmp_path / "bundle")
    for path in (tmp_path / "bundle").iterdir():
        assert b"secret_cache" not in path.read_bytes()
        assert b"secret_runs" not in path.read_bytes()
        assert os.fsencode(tmp_path) not in path.read_bytes()
    paths = sorted(root.rglob("*.png"))[:4] or sorted(root.rglob("*.jpg"))[:4]
    ours, theirs = (api.load_run(each).encode(paths) for each in (tmp_path / "bundle", run.folder))
    assert np.array_equal(ours.bits, theirs.bits)  # rounded features, too


def test_portable_keeps_what_makes_the_encoder():
    config = {
        "method": {"name": "dpq", "label_vectors": "/home/me/words.npz"}, "preset": "/home/me/tuned.yaml",
        "data": {"name": "csv", "root": "/home/me/data", "features": "/home/me/cache", "image_size": 96},
        "backbone": {"weights": "/home/me/w.safetensors"}, "tracking": {"entity": "me"}, "runs": "/home",
    }  # fmt: skip
    found = portable(config, {"label_vectors": None})
    assert "/home" not in json.dumps(found)
    assert found["data"]["features"] == "ram"
    assert found["data"]["image_size"] == 96


def test_publishing_to_a_folder_copies_what_is_whole(bundle, tmp_path, capsys):
    folder, run = bundle
    assert main(["publish", str(folder), str(tmp_path / "there")]) == 0
    assert api.load_run(tmp_path / "there").encoder == api.load_run(folder).encoder
    assert main(["publish", str(folder), str(tmp_path / "there")]) == 2
    assert "--force replaces a bundle" in capsys.readouterr().err
    assert main(["publish", str(run), str(tmp_path / "there"), "--force"]) == 0
    verify_bundle(tmp_path / "there")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    assert main(["publish", str(folder), str(tmp_path / "mine"), "--force"]) == 2
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "transform.json"])
def test_a_damaged_bundle_is_not_published(bundle, tmp_path, name):
    folder, _ = bundle
    publish(folder, str(tmp_path / "copy"))
    (tmp_path / "copy" / name).write_bytes((tmp_path / "copy" / name).read_bytes()[:-1])
    with pytest.raises(InputError, match=name):
        publish(tmp_path / "copy", str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()


class Hub:
    """Stands for huggingface_hub."""

    def __init__(self, folder):
        self.folder, self.said = folder, []

    def HfApi(self):
        return self

    def create_repo(self, name, private, exist_ok):
        self.said.append((name, private))

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.said.append(sorted(path.name for path in type(self.folder)(folder_path).iterdir()))
        return f"hub/{repo_id}"

    def snapshot_download(self, name, revision):
        if name != "me/birds":
            raise OSError("404")
        self.said.append(revision)
        return str(self.folder)


def test_the_hub_gets_the_files_and_gives_them_back(bundle, monkeypatch, tmp_path):
    folder, _ = bundle
    hub = Hub(folder)
    monkeypatch.setattr("fghash.export.hub.import_package", lambda *names: hub)
    monkeypatch.setattr(bundle_files, "import_package", lambda *names: hub)
    assert publish(folder, "hf://me/birds", private=True) == "hub/me/birds"
    assert hub.said[0] == ("me/birds", True)
    assert "model.safetensors" in hub.said[1]
    assert api.load_run("hf://me/birds@v1").encoder == api.load_run(folder).encoder
    assert hub.said[2] == "v1"
    with pytest.raises(InputError, match="cannot fetch"):
        fetch("hf://me/other")
    with pytest.raises(InputError, match="user/name"):
        publish(folder, "hf://birds")


def test_a_file_of_label_vectors_is_not_needed_any_more(tmp_path, runs):
    names = api.load_run(runs["itq"]).class_names
    words = {word for name in names for word in name.replace("_", " ").split()} | set(names)
    random = np.random.default_rng(0)
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in random.standard_normal(24))}" for word in sorted(words)]
    (tmp_path / "words.txt").write_text("\n".join(lines) + "\n")
    method = {"name": "dpq", "label_vectors": str(tmp_path / "words.txt")}
    run = small_run(tmp_path / "runs", method, 8)
    images = sorted(small_images(tmp_path / "images", per_class=1).rglob("*.png"))
    codes = api.load_run(run).encode(images)
    write_bundle(api.load_run(run), tmp_path / "bundle")
    (tmp_path / "words.txt").unlink()
    assert np.array_equal(api.load_run(tmp_path / "bundle").encode(images).indices, codes.indices)
