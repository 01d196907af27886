"""A loss that is no number: the step, its items and its state are kept, replayed, or left out."""

from __future__ import annotations

import json
import math
import warnings

import pytest
import pytorch_lightning as pl
import torch

from contract import tiny_data, tiny_method
from fghash.cli import main
from fghash.errors import InputError
from fghash.settings.resolve import configure
from fghash.store.upkeep import FAILURE
from fghash.training.checkpoints import read_checkpoint
from fghash.training.last_checkpoint import KeepLast
from fghash.training.lean_loop import use_lean_loop
from fghash.training.non_finite import FAILED, FiniteLoss
from fghash.training.trainer import Devices, build_trainer

CPU = Devices("cpu", 1)
BAD = {12, 37, 50}  # items whose loss is no number
SMALL = [
    "--method", "hashnet", "--data.families", "2", "--data.train_images", "10", "--data.query_images", "3",
    "--data.image_size", "32", "--data.sampler", "shuffle",
    "--bits", "8", "--batch_size", "16", "--gpus", "0", "--optim.warmup", "0.5",
    "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "9", "--optim.lr", "1e6",
]  # fmt: skip


def spoilt(method, value=math.nan):
    """The method with a loss that is no number for batches that hold a bad item; buffers are spoilt, too."""
    loss = method.loss

    def wrong(batch):
        terms = loss(batch)
        if BAD & set(batch.index.tolist()):
            first = next(iter(terms))
            terms[first] = terms[first] + value
            if hasattr(method, "usage"):
                method.usage.counts += 10**6
        return terms

    method.loss = wrong
    return method


class Weights(pl.Callback):
    """Of every step: whether it held a bad item, and a copy of the weights after it."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        state = {key: value.clone() for key, value in pl_module.state_dict().items()}
        self.steps.append((bool(BAD & set(batch.index.tolist())), state))


def train(name, folder, skips=0, *, epochs=2, value=math.nan, spoil=True, devices=CPU, **settings):
    data = tiny_data(train_images=10)
    method = tiny_method(name, data)
    data.train_order = method.train_sampler(data.train_labels)
    trainer = build_trainer(
        folder / "run" / "checkpoints", devices,
        {"max_epochs": epochs, "enable_progress_bar": False, **settings},
        seed=3, loggers=[], validates=False, checkpoint_seconds=3600, skips=skips,
    )  # fmt: skip
    watch = Weights()
    trainer.callbacks += [watch]
    use_lean_loop(trainer, method)
    trainer.fit(spoilt(method, value=value) if spoil else method, datamodule=data)
    return trainer, method, watch


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("settings", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
@pytest.mark.parametrize("name", ["hashnet", "phpq", "dpq"])
def test_it_stops_at_that_step_and_keeps_it(name, settings, value, tmp_path):
    if name == "dpq" and "accumulate_grad_batches" in settings:
        pytest.skip("its own optimisers do not accumulate")
    with pytest.raises(
        InputError, match=rf"train/loss: {value} at step \d+, .* fghash replay .*/run"
    ) as said:
        train(name, tmp_path, value=value, **settings)
    assert ("gradient_clip_val" in str(said.value)) == (name != "dpq")
    failure = json.loads((tmp_path / "run" / "checkpoints" / FAILURE).read_text())
    assert BAD & set(failure["items"])
    assert len(failure["items"]) == len(failure["names"]) == 8
    assert failure["epoch"] == 0
    assert [key for key, term in failure["terms"].items() if not math.isfinite(float(term))][-1] == "loss"
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / FAILED)
    assert checkpoint["within_epoch"]["batches"] == failure["batch"]
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
@pytest.mark.parametrize("name", ["hashnet", "phpq", "dpq", "adsh"])
def test_a_batch_that_is_left_out_changes_nothing(name, settings, tmp_path):
    if name == "dpq" and "accumulate_grad_batches" in settings:
        pytest.skip("its own optimisers do not accumulate")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer, method, watch = train(name, tmp_path, skips=9, **settings)
    finite = next(each for each in trainer.callbacks if isinstance(each, FiniteLoss))
    n_bad = sum(bad for bad, _ in watch.steps)  # two of them may be in one step of two batches
    assert 0 < len(finite.skipped) <= n_bad
    assert len(finite.skipped) == n_bad or "accumulate_grad_batches" in settings
    assert sum("left out" in str(each.message) for each in said) == len(finite.skipped)
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert math.isfinite(float(trainer.callback_metrics["train/loss"]))
    if not settings:
        at = next(at for at, (bad, _) in enumerate(watch.steps) if bad and at)
        before, after = watch.steps[at - 1][1], watch.steps[at][1]
        moved = [key for key in before if not torch.allclose(before[key], after[key], rtol=1e-6)]
        assert moved in ([], ["beta"])  # the continuation goes on


def test_more_than_may_be_left_out_stops(tmp_path):
    with pytest.raises(InputError, match="train/loss: nan at step"):
        train("hashnet", tmp_path, skips=1, epochs=3)
    assert json.loads((tmp_path / "run" / "checkpoints" / FAILURE).read_text())["epoch"] == 0


def test_weights_that_are_no_numbers_are_never_kept(tmp_path):
    trainer, method, _ = train("hashnet", tmp_path, spoil=False, epochs=1)
    keep = next(each for each in trainer.callbacks if isinstance(each, KeepLast))
    with torch.no_grad():
        method.head.linear.weight[0, 0] = math.nan
    keep.seconds = 0
    with pytest.raises(
        InputError, match=r"weights: head.linear.weight is not finite after step \d+, nothing"
    ):
        keep.on_train_epoch_end(trainer, method)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_the_command_stops_in_a_line_and_replay_shows_the_step(tmp_path, capsys):
    assert main(["fit", *SMALL, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    run = said.err.partition("fghash replay ")[2].split()[0]
    assert main(["replay", run, "--gpus", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["again"]
    assert found["weights"] == []
    assert found["module"] or found["gradients"]
    assert found["failure"]["items"]
    assert found["terms"] == found["failure"]["terms"]
    assert main(["runs", "list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("failed ")
    assert main(["replay", run, "--gpus", "0"]) == 0
    assert "the loss is nan again" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "allowed"), [("stop", 0), ("skip 3", 3), (["skip", 12], 12)])
def test_how_many_may_be_left_out(asked, allowed):
    assert configure([{"method": "hashnet", "data": "synthetic", "on_nan": asked}]).on_nan == allowed


@pytest.mark.parametrize("asked", ["skip", "skip 0", "skip x", "stop 3", 3, None, "1e6", ["skip", 1, 2]])
def test_what_else_may_not_be_asked(asked):
    with pytest.raises(InputError, match="on_nan"):
        configure([{"method": "hashnet", "data": "synthetic", "on_nan": asked}])


@pytest.mark.parametrize("damage", ["gone", "text", "list", "no checkpoint", "foreign"])
def test_what_cannot_be_replayed_is_one_line(damage, tmp_path, capsys):
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    whole = {"step": 1, "epoch": 0, "batch": 1, "terms": {"loss": "nan"}, "items": [1], "names": ["a"]}
    text = {"text": "hello", "list": "[1]"}.get(damage, json.dumps(whole))
    if damage != "gone":
        (checkpoints / FAILURE).write_text(text)
    if damage == "foreign":
        (checkpoints / FAILED).write_text("hello")
        (tmp_path / "run" / "config.yaml").write_text("method: hashnet\ndata: synthetic\n")
    assert main(["replay", str(tmp_path / "run"), "--gpus", "0"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_was_left_out_stands_beside_the_scores(tmp_path, capsys, monkeypatch):
    """And the failure of an earlier attempt is gone once the training has ended."""
    from fghash.methods.hashnet import HashNet

    loss = HashNet.loss

    def wrong(self, batch):
        terms = loss(self, batch)
        return {name: term + (math.nan if 7 in batch.index.tolist() else 0) for name, term in terms.items()}

    monkeypatch.setattr(HashNet, "loss", wrong)
    words = ["fit", *SMALL, "--runs", str(tmp_path), "--optim.lr", "0.01", "--trainer.max_epochs", "3"]
    assert main(words) == 2
    assert list(tmp_path.glob("*/*/*/*/checkpoints/failure.json"))
    capsys.readouterr()
    assert main([*words, "--on_nan", "skip", "3"]) == 0
    said = capsys.readouterr().err
    assert said.count("fghash: train/loss: not finite in epoch") == 3
    (provenance,) = tmp_path.glob("*/*/*/*/provenance.json")
    assert json.loads(provenance.read_text())["batches_left_out"] == 3
    assert not list(tmp_path.glob("*/*/*/*/checkpoints/fail*"))
