"""The accelerator's path (bytes to the device, finished there) gives what the CPU's path gives.

The path is switched on for the CPU, so that a machine without an accelerator runs what only a GPU would.
"""

import numpy as np
import pytest

from contract import WHOLE_RUNS, fit, tiny_method
from fghash.data.datamodule import RetrievalDataModule
from fghash.encoding import encode
from fghash.nvrtc import SlowWay
from fghash.registry import DATASETS, METHODS
from fghash.training.trainer import Devices, build_trainer
from image_folder import write_images
from process_jobs import run_both_paths
from processes import run_all

# the cache on the CPU's path and on the accelerator's, and the part for validation
CASES = [("ram", "ram", 0.0), ("ram", "gpu", 0.3), (None, None, 0.3)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def trained(name, root, folder, cache, validation):
    """The arrays of both splits' codes after one epoch, and what was logged."""
    data = DATASETS["folder"].load()(
        root=str(root), image_size=32, batch_size=6, num_workers=0, cache=cache, validation=validation
    )
    data.setup("fit")
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    settings = {"max_epochs": 1, "enable_progress_bar": False}
    trainer = build_trainer(
        folder, Devices("cpu", 1), settings, seed=0, loggers=[], validates=validation > 0
    )  # fmt: skip
    fit(trainer, method, data)
    metrics = dict(trainer.callback_metrics)
    queries, gallery = encode(trainer, method, data)
    arrays = {
        f"{part} {key}": value
        for part, split in (("queries", queries), ("gallery", gallery))
        for key, value in vars(split.codes).items()
    }
    return arrays, metrics


@pytest.mark.parametrize(("cache", "other", "validation"), CASES)
@pytest.mark.parametrize("name", WHOLE_RUNS)
def test_every_method_gives_the_same_codes_on_both_paths(
    name, cache, other, validation, images, monkeypatch, tmp_path
):
    here, metrics = trained(name, images, tmp_path / "cpu", cache, validation)
    monkeypatch.setattr(RetrievalDataModule, "_on_accelerator", lambda self: True)
    there, others = trained(name, images, tmp_path / "accelerator", other, validation)
    assert metrics.keys() == others.keys()
    assert ("val/map" in metrics) == (validation > 0)
    assert here.keys() == there.keys()
    for key, value in here.items():
        if isinstance(value, np.ndarray):
            same = np.allclose if value.dtype.kind == "f" else np.array_equal
            assert same(value, there[key]), key


def test_two_processes_give_the_same_codes_on_both_paths(tmp_path):
    write_images(tmp_path / "images")
    run_all([(run_both_paths, tmp_path, rank, 2) for rank in (0, 1)], tmp_path)
    for name in sorted(METHODS):
        with np.load(tmp_path / f"{name}-False.npz") as here, np.load(tmp_path / f"{name}-True.npz") as there:
            assert here.files == there.files
            for key in here.files:
                same = np.allclose if here[key].dtype.kind == "f" else np.array_equal
                assert same(here[key], there[key]), f"{name} {key}"


def test_a_cache_that_no_gpu_can_have_stays_in_memory(images, tmp_path):
    with pytest.warns(SlowWay, match="--data.cache: gpu is not used on cpu"):
        here, _ = trained("hashnet", images, tmp_path / "gpu", "gpu", 0.0)
    there, _ = trained("hashnet", images, tmp_path / "ram", "ram", 0.0)
    assert all(np.array_equal(value, there[key]) for key, value in here.items())
