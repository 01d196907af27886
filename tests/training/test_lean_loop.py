"""The lean loop trains what Lightning's own loop trains, and leaves to it what is not plain."""

import pytest
import pytorch_lightning as pl
import torch

from contract import ALIKE, TRAINED, tiny_data, tiny_method
from fghash.training.last_checkpoint import LAST
from fghash.training.lean_loop import LeanEpochLoop, use_lean_loop
from fghash.training.trainer import Devices, build_trainer


class Counts(pl.Callback):
    """Which hooks of a step were called, in order."""

    def __init__(self):
        self.called = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.called.append(("start", batch_idx))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.called.append("zero")

    def on_before_backward(self, trainer, pl_module, loss):
        self.called.append("before backward")

    def on_after_backward(self, trainer, pl_module):
        self.called.append("after backward")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.called.append("before step")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.called.append(("end", batch_idx, round(float(outputs["loss"]), 6)))


class StopAfter(pl.Callback):
    """Ends a training within an epoch, as a time limit does."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == self.epoch


def trained(name, folder, lean, *, epochs=3, resume=None, seconds=0.0, also=(), **settings):
    data = tiny_data()
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    settings = {"max_epochs": epochs, "enable_progress_bar": False, **settings}
    trainer = build_trainer(
        folder, Devices("cpu", 1), settings, seed=0, loggers=[], validates=False, checkpoint_seconds=seconds
    )
    counts = Counts()
    trainer.callbacks += [counts, *also]
    if lean:
        use_lean_loop(trainer, method)
    trainer.fit(method, datamodule=data, ckpt_path=resume)
    return trainer, method, counts.called


def same_weights(first, second):
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize("name", sorted(set(TRAINED) - ALIKE))
def test_both_loops_train_the_same_with_the_same_hooks(name, tmp_path):
    plain, first, called = trained(name, tmp_path / "plain", lean=False)
    lean, second, others = trained(name, tmp_path / "lean", lean=True)
    used = isinstance(lean.fit_loop.epoch_loop, LeanEpochLoop)
    assert used == first.automatic_optimization
    assert same_weights(first, second)
    assert [each for each in called if not isinstance(each, str)] == [
        each for each in others if not isinstance(each, str)
    ]
    assert sorted(map(str, called)) == sorted(map(str, others))
    assert plain.global_step == lean.global_step
    assert plain.callback_metrics.keys() == lean.callback_metrics.keys()
    for key, value in plain.callback_metrics.items():
        assert torch.equal(value, lean.callback_metrics[key]), key


@pytest.mark.parametrize("lean", [True, False])
def test_a_training_resumes_in_the_other_loop(lean, tmp_path):
    _, straight, _ = trained("hashnet", tmp_path / "straight", lean=lean, epochs=4)
    trained("hashnet", tmp_path / "broken", lean=not lean, epochs=4, also=[StopAfter(1)])
    last = tmp_path / "broken" / LAST
    assert last.is_file()
    _, resumed, _ = trained("hashnet", tmp_path / "broken", lean=lean, epochs=4, resume=str(last))
    assert same_weights(straight, resumed)


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 1.0},
        {"precision": "bf16-mixed"},
        {"profiler": "simple"},
    ],
)
def test_what_is_not_plain_keeps_lightnings_loop(settings, tmp_path):
    trainer, _, _ = trained("hashnet", tmp_path, lean=True, epochs=1, **settings)
    assert not isinstance(trainer.fit_loop.epoch_loop, LeanEpochLoop)


def test_checkpoints_wait_for_their_time(tmp_path):
    trained("hashnet", tmp_path / "now", lean=True)
    trained("hashnet", tmp_path / "later", lean=True, seconds=3600)
    assert (tmp_path / "now" / LAST).is_file()
    assert not (tmp_path / "later").exists() or not (tmp_path / "later" / LAST).exists()


def test_a_training_that_ends_early_is_kept_at_once(tmp_path):
    trained("hashnet", tmp_path, lean=True, seconds=3600, epochs=5, also=[StopAfter(1)])
    assert (tmp_path / LAST).is_file()
