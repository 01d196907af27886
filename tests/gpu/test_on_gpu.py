"""What only a GPU can show: every method fits, resumes and encodes there, and no step waits for it."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from binary_cases import binary_case, same
from contract import TRAINED, tiny_data, tiny_method
from fghash import api
from fghash.batch import Reads
from fghash.cli import main
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation import evaluate
from fghash.feature_cache import FeatureJob, use_cached_features
from fghash.registry import METHODS
from fghash.store import RunFolder
from fghash.training.checkpoints import read_checkpoint
from fghash.training.last_checkpoint import LAST
from fghash.training.lean_loop import use_lean_loop
from fghash.training.non_finite import FAILED
from fghash.training.trainer import Devices, build_trainer
from image_folder import write_images
from process_jobs import one_step
from test_feature_cache import job
from training import test_exact_resume as exact
from training import test_non_finite as non_finite

SMALL = [
    "--data.image_size",
    "32",
    "--batch_size",
    "6",
    "--bits",
    "16",
    "--trainer.enable_progress_bar",
    "false",
]
_NEAR = 1e-3  # of a threshold: there a bit may differ between devices


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def fit(root, runs, *more, method="hashnet", gpus="1"):
    words = ["fit", "--method", method, "--data", "folder", "--data.root", str(root), "--runs", str(runs)]
    return main([*words, *SMALL, "--trainer.max_epochs", "2", "--gpus", gpus, *more])


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize(
    "more", [(), ("--data.cache", "ram", "--data.validation", "0.3")], ids=["plain", "cached"]
)
def test_every_method_fits(name, more, images, tmp_path):
    assert fit(images, tmp_path / "runs", *more, method=name) == 0


@pytest.mark.parametrize("name", sorted(METHODS))
def test_cpu_and_gpu_encode_a_model_to_the_same_codes(name, images, tmp_path):
    """Bits may differ where the value lies near its threshold, and nowhere else; how many is printed."""
    assert fit(images, tmp_path / "runs", method=name) == 0
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/*/*/*/config.yaml"))
    files = [images / item for item in RunFolder(folder).read_items("gallery")]
    here, there = (api.load_run(folder, device).encode(files) for device in ("cpu", "cuda"))
    if isinstance(here, RealCodes):
        np.testing.assert_allclose(here.vectors, there.vectors, rtol=1e-2, atol=1e-3)
        return
    chosen = "bits" if isinstance(here, BinaryCodes) else "indices"
    differing, total = (
        int((getattr(here, chosen) != getattr(there, chosen)).sum()),
        getattr(here, chosen).size,
    )
    print(f"{name}: {differing} of {total} differ")
    assert differing <= max(1, total // 200)
    if isinstance(here, QuantizedCodes):
        np.testing.assert_allclose(here.codebooks, there.codebooks, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_resumes(name, tmp_path):
    """With the weights and moments of the checkpoint, and the batches of the run that never stopped.

    The weights at the end are not compared: sums on a GPU have no fixed order, and a training amplifies that.
    """

    def trained(folder, resume=None, stop=None):
        data = tiny_data()
        method = tiny_method(name, data)
        data.train_order = method.train_sampler(data.train_labels)
        settings = {"max_epochs": 3, "enable_progress_bar": False}
        trainer = build_trainer(folder, Devices("gpu", 1), settings, seed=0, loggers=[], validates=False)
        seen = _Seen(stop)
        trainer.callbacks += [seen]
        use_lean_loop(trainer, method)
        trainer.fit(method, datamodule=data, ckpt_path=resume)
        assert all(value.isfinite().all() for value in method.state_dict().values())
        return seen

    straight = trained(tmp_path / "straight")
    trained(tmp_path / "broken", stop=0)
    checkpoint = tmp_path / "broken" / LAST
    stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
    resumed = trained(tmp_path / "broken", resume=str(checkpoint))
    assert sorted(straight.batches) == [0, 1, 2]
    assert resumed.batches == {epoch: straight.batches[epoch] for epoch in (1, 2)}
    assert same_state(resumed.weights, stored["state_dict"])
    assert same_state(resumed.moments, stored["optimizer_states"][0]["state"])


def same_state(found, expected):
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same_state(found[key], expected[key]) for key in found)
    return torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


class _Seen(pl.Callback):
    """What the training started with, and the items of each epoch's batches; stops after an epoch."""

    def __init__(self, stop):
        self.stop, self.batches = stop, {}

    def on_train_start(self, trainer, pl_module):
        self.weights = {key: value.cpu().clone() for key, value in pl_module.state_dict().items()}
        states = trainer.optimizers[0].state_dict()["state"]
        self.moments = {i: {k: v.cpu().clone() for k, v in each.items()} for i, each in states.items()}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.setdefault(trainer.current_epoch, []).append(batch.index.tolist())

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == self.stop


class _Alert(pl.Callback):
    """Raise where a step waits for the device, from the third step on."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.cuda.set_sync_debug_mode("error" if batch_idx > 1 else "default")

    def on_train_batch_end(self, trainer, pl_module, *arguments):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", TRAINED)
def test_no_step_waits_for_the_device(name, tmp_path):
    data = tiny_data()
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    settings = {"max_epochs": 1, "enable_progress_bar": False}
    trainer = build_trainer(tmp_path, Devices("gpu", 1), settings, seed=0, loggers=[], validates=False)
    trainer.callbacks.append(_Alert())
    use_lean_loop(trainer, method)
    try:
        trainer.fit(method, datamodule=data)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_bf16(name, images, tmp_path):
    assert fit(images, tmp_path / "runs", "--trainer.precision", "bf16-mixed", method=name) == 0


def test_all_gpus_and_the_memory_that_it_took(images, tmp_path):
    torch.cuda.reset_peak_memory_stats()
    assert fit(images, tmp_path / "runs", gpus="auto") == 0
    print(f"peak memory {torch.cuda.max_memory_allocated() / 1e6:.0f} MB")


@pytest.mark.filterwarnings("error::fghash.nvrtc.SlowWay")
@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("bits", [1, 12, 33, 64, 129, 256, 383, 512, 1000, 2048])
def test_the_evaluators_kernels_agree_on_binary_codes(bits, multi):
    for n_items in (7, 3000, 40_000):
        case = binary_case(bits, multi, q=200, g=n_items)
        here, there = (evaluate(*case, device=device) for device in (None, "cuda"))
        assert same(here.groups, there.groups)
        assert here.scores == there.scores


def test_longer_codes_are_counted_with_products():
    case = binary_case(3000)
    assert same(evaluate(*case).groups, evaluate(*case, device="cuda").groups)


def test_the_evaluators_kernels_agree_on_real_codes():
    random = np.random.default_rng(0)
    gallery, queries = (
        RealCodes(random.standard_normal((n, 24)).astype(np.float32), "cosine") for n in (900, 70)
    )
    labels = random.integers(10, size=900), random.integers(10, size=70)
    here = evaluate(queries, gallery, labels[1], labels[0])
    there = evaluate(queries, gallery, labels[1], labels[0], device="cuda")
    assert here.scores["map"] == pytest.approx(there.scores["map"], abs=1e-6)


def test_features_from_the_gpu_are_those_of_the_cpu(images, tmp_path):
    rows = []
    for device in ("cpu", "cuda"):
        work = job(images, Reads(pooled=True, levels=(3,)))
        work = FeatureJob(work.backbone, work.data, work.reads, torch.device(device))
        use_cached_features(work, "ram", lambda text: None)
        rows.append(work.data.train_items.source.features(np.arange(21)))
    assert torch.allclose(rows[0].vector, rows[1].vector, atol=_NEAR * 10)
    assert torch.allclose(rows[0].maps[3], rows[1].maps[3], atol=_NEAR * 10)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_head_on_cached_features_fits(name, images, tmp_path):
    more = ["--backbone.freeze", "all", "--data.features", str(tmp_path / "cache")]
    assert fit(images, tmp_path / "runs", *more, method=name) == 0


@pytest.mark.parametrize("name", ["hashnet", "phpq", "dpq", "exchnet", "fph", "adsh"])
def test_a_signal_stops_it_within_an_epoch_and_it_goes_on(name, tmp_path):
    """The same items in the same order; what the epoch gathered and the draws come back."""
    gpu = Devices("gpu", 1)
    _, whole = exact.trained(name, tmp_path / "whole", devices=gpu)
    number, first = exact.trained(name, tmp_path / "stopped", signal_at=2, devices=gpu)
    assert number == 15
    assert read_checkpoint(tmp_path / "stopped" / LAST)["within_epoch"]["generators"][0]["cuda"].numel()
    method, rest = exact.trained(name, tmp_path / "stopped", devices=gpu)
    met = dict.fromkeys(map(str, [*first.items, *rest.items]))
    assert list(met) == list(map(str, whole.items))
    assert all(value.isfinite().all() for value in method.state_dict().values())


@pytest.mark.parametrize("name", TRAINED)
def test_loss_and_gradients_are_those_of_the_cpu(name, tmp_path):
    """In float64, on the same batch."""
    cpu, gpu = (one_step(name, tmp_path / kind, Devices(kind, 1)) for kind in ("cpu", "gpu"))
    assert cpu.keys() == gpu.keys()
    for key, value in cpu.items():
        scale = max(1.0, np.abs(value).max(initial=0))
        assert np.abs(value - gpu[key]).max(initial=0) <= 1e-6 * scale, key


@pytest.mark.parametrize("settings", [{}, {"precision": "16-mixed"}, {"accumulate_grad_batches": 2}])
def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(settings, tmp_path):
    with pytest.raises(InputError, match="train/loss: nan at step"):
        non_finite.train("hashnet", tmp_path, devices=Devices("gpu", 1), **settings)
    failed = read_checkpoint(tmp_path / "run" / "checkpoints" / FAILED)
    assert all(value.isfinite().all() for value in failed["state_dict"].values())


def test_a_batch_that_is_left_out_changes_nothing(tmp_path):
    _, method, watch = non_finite.train("phpq", tmp_path, skips=9, devices=Devices("gpu", 1))
    assert sum(bad for bad, _ in watch.steps) > 0
    assert all(value.isfinite().all() for value in method.state_dict().values())


def test_the_command_stops_on_sigterm_and_ends_as_if_nothing_had_been(images, tmp_path):
    """Deterministic sums, so that the codes can be compared bit for bit."""
    words = [
        sys.executable, "-c", "import sys; from fghash.cli import main; sys.exit(main())", "fit", "--method",
        "hashnet", "--data", "folder", "--data.root", str(images), *SMALL, "--trainer.max_epochs", "60",
        "--gpus", "1", "--checkpoint_minutes", "0.001", "--trainer.deterministic", "true",
    ]  # fmt: skip
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

    def start(runs):
        return subprocess.Popen([*words, "--runs", str(runs)], stderr=subprocess.PIPE, env=environment)

    assert start(tmp_path / "straight").wait(200) == 0
    process = start(tmp_path / "stopped")
    while not list((tmp_path / "stopped").glob("*/*/*/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 143, said
    assert "stopped by SIGTERM, saved in epoch" in said
    assert start(tmp_path / "stopped").wait(200) == 0
    first, second = (
        RunFolder(path.parent).read_codes(16, "network", "gallery")[0].bits
        for runs in ("straight", "stopped")
        for path in (tmp_path / runs).glob("*/*/*/*/config.yaml")
    )
    assert np.array_equal(first, second)


@pytest.mark.parametrize("method", ["itq", "pq"])
def test_files_are_encoded_to_the_codes_of_the_cpu(method, tmp_path):
    """Decoded ahead by threads while the GPU works; a few bits may lie at the threshold."""
    from fghash.cli import main
    from fghash.search.coded_items import load_items
    from small_runs import small_images, small_run

    run, images = small_run(tmp_path / "runs", method), small_images(tmp_path / "images")
    words = ["encode", str(run), str(images), "--batch_size", "5"]
    assert main([*words, "--gpus", "0", "--out", str(tmp_path / "cpu.npz")]) == 0
    assert main([*words, "--gpus", "1", "--out", str(tmp_path / "gpu.npz")]) == 0
    ours, theirs = (load_items(tmp_path / f"{name}.npz") for name in ("gpu", "cpu"))
    assert ours.ids.tolist() == theirs.ids.tolist()
    name = "bits" if method == "itq" else "indices"
    assert (getattr(ours.codes, name) != getattr(theirs.codes, name)).mean() < 0.01
