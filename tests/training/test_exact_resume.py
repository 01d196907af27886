"""A training that stops within an epoch and resumes ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import signal

import pytest
import pytorch_lightning as pl
import torch

from contract import TRAINED, tiny_data, tiny_method
from fghash.errors import Stopped
from fghash.training.checkpoints import read_checkpoint
from fghash.training.last_checkpoint import LAST, KeepLast
from fghash.training.lean_loop import use_lean_loop
from fghash.training.trainer import Devices, build_trainer

EPOCHS = 3
CPU = Devices("cpu", 1)
MODES = {
    "validated": {},
    "validated within an epoch": {"val_check_interval": 3},
    "accumulated": {"accumulate_grad_batches": 2},
    "bf16": {"precision": "bf16-mixed"},
    "steps": {"max_steps": 17},
    "clipped": {"gradient_clip_val": 0.1},
}


class SignalAt(pl.Callback):
    """SIGTERM arrives while this step is under way."""

    def __init__(self, step):
        self.step, self.seen = step, 0

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen += 1
        if self.seen == self.step:
            next(each for each in trainer.callbacks if isinstance(each, KeepLast)).signals.received = 15


class Noted(pl.Callback):
    """The items of every step, and what was logged of every epoch."""

    def __init__(self):
        self.items, self.means = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.items.append((trainer.current_epoch, batch_idx, batch.index.tolist()))

    def on_train_epoch_end(self, trainer, pl_module):
        kept = ("train/loss", "val/map")
        self.means.append(
            {key: float(trainer.callback_metrics[key]) for key in kept if key in trainer.callback_metrics}
        )


def trained(name, folder, *, signal_at=None, devices=CPU, **settings):
    """The method after training from ``last.ckpt``, if there is one, and what was seen on the way."""
    validates = any(key.startswith("val") for key in settings)
    settings.pop("validated", None)
    data = tiny_data(validation=0.3 if validates else 0.0, train_images=10)
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    trainer = build_trainer(
        folder, devices, {"max_epochs": EPOCHS, "enable_progress_bar": False, **settings},
        seed=3, loggers=[], validates=validates, checkpoint_seconds=3600,
    )  # fmt: skip
    noted = Noted()
    trainer.callbacks += [noted, *([SignalAt(signal_at)] if signal_at else [])]
    use_lean_loop(trainer, method)
    last = folder / LAST
    try:
        trainer.fit(method, datamodule=data, ckpt_path=str(last) if last.is_file() else None)
    except Stopped as stop:
        return stop.number, noted
    return method, noted


def assert_exact(name, tmp_path, **settings):
    """Stopped twice: in the first epoch, and in the second after a resume."""
    whole, seen = trained(name, tmp_path / "whole", **settings)
    stops = [2, 1 + max(batch for _, batch, _ in seen.items)]
    parts = []
    for stop in stops:
        number, noted = trained(name, tmp_path / "stopped", signal_at=stop, **settings)
        assert number == signal.SIGTERM
        parts.append(noted)
    resumed, rest = trained(name, tmp_path / "stopped", **settings)
    met = [step for part in [*parts, rest] for step in part.items]
    assert list(dict.fromkeys(map(str, met))) == list(map(str, seen.items))
    before, after = whole.state_dict(), resumed.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]), key
    logged = [means for part in [*parts, rest] for means in part.means]
    assert logged == seen.means


@pytest.mark.parametrize("name", TRAINED)
def test_stopped_within_an_epoch_every_method_resumes_exactly(name, tmp_path):
    assert_exact(name, tmp_path)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", ["hashnet", "phpq", "dpq", "exchnet", "fph", "adsh"])  # fmt: skip
def test_so_it_is_with_other_ways_to_train(name, mode, tmp_path):
    if mode in ("accumulated", "clipped") and not tiny_method(name, tiny_data()).automatic_optimization:
        pytest.skip("its own optimisers do neither")
    settings = {"validated": True} if mode == "validated" else MODES[mode]
    if mode == "steps" and name == "dpq":
        settings = {"max_steps": 34}  # it counts those of both its optimisers
    assert_exact(name, tmp_path, **settings)


def test_it_stops_where_the_gradients_of_a_step_are_complete(tmp_path):
    trained("hashnet", tmp_path, signal_at=3, accumulate_grad_batches=2)
    checkpoint = read_checkpoint(tmp_path / LAST)
    assert checkpoint["within_epoch"]["batches"] == 4
    assert checkpoint["global_step"] == 2
