"""``fghash replay``: the step at which a training stopped, once more, with everything looked at."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fghash.errors import InputError
from fghash.pipeline import cache_features, prepare, silent
from fghash.settings.resolve import configure
from fghash.store.parsing import read_json
from fghash.store.upkeep import FAILURE
from fghash.training.lean_loop import use_lean_loop
from fghash.training.non_finite import FAILED
from fghash.training.trainer import build_trainer, choose_devices

_OF_OTHERS = ("max_time", "profiler")


@dataclass
class Replayed:
    """What was seen at a step.

    Args:
        failure: what the training wrote when it stopped: ``step``, ``epoch``, ``batch``, ``terms``, and
            positions (``items``) and ``names`` of the batch's items.
        terms: of the loss this time.
        weights: parameters that were not finite before the step.
        module: the first module that gave a value that is not finite, with its class and how many of how
            many values; empty where none did.
        gradients: parameters without a finite gradient.
        largest: the largest absolute value that each module gave, of those ten with the largest ones.
    """

    failure: Mapping[str, Any]
    terms: dict[str, float] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)
    module: str = ""
    gradients: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    @property
    def again(self) -> bool:
        """Whether the loss is no number this time, too."""
        return not math.isfinite(self.terms["loss"])


def replay(folder: Path, gpus: int | None = None, say: Callable[[str], None] = silent) -> Replayed:
    """Run the failed step of the run in ``folder`` again, from the weights, batch and draws it had.

    Changes nothing on disk but caches. Data and starting weights must lie where they lay.

    Raises:
        InputError: no such failure, a damaged file, or data that are gone.
    """
    checkpoints = folder / "checkpoints"
    failure = _failure(checkpoints / FAILURE)
    if not (checkpoints / FAILED).is_file():
        raise InputError(f"run: '{checkpoints / FAILED}' is missing, the state that the step began with")
    if not (folder / "config.yaml").is_file():
        raise InputError(f"run: '{folder}' has no config.yaml")
    config = replace(configure([], folder / "config.yaml"), gpus=gpus, cpus=None)
    run = prepare(config, say)
    devices = choose_devices(config.gpus)
    cache_features(run, devices)
    settings = {key: value for key, value in config.trainer.items() if key not in _OF_OTHERS}
    trainer = build_trainer(
        checkpoints, devices, {**settings, "enable_progress_bar": False},
        seed=config.seed, loggers=[], validates=False, keeps=False,
    )  # fmt: skip
    examiner = _Examiner(failure)
    trainer.callbacks.insert(1, examiner)  # type: ignore[attr-defined]
    use_lean_loop(trainer, run.method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checkpoint has the state of callbacks that are not needed here
        try:
            trainer.fit(run.method, datamodule=run.data, ckpt_path=str(checkpoints / FAILED))
        except _Seen:
            return examiner.found
    raise InputError(f"run: the step of '{checkpoints / FAILED}' never came, its training is over")


def _failure(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"run: '{path.parent.parent}' has no {FAILURE}: no training there stopped at a loss")
    try:
        values = read_json(path)
        return {
            "step": int(values["step"]), "epoch": int(values["epoch"]), "batch": int(values["batch"]),
            "terms": {str(name): float(value) for name, value in values["terms"].items()},
            "items": [int(each) for each in values["items"]],
            "names": [str(each) for each in values["names"]],
        }  # fmt: skip
    except (InputError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"run: '{path}' is damaged ({error})") from None


class _Seen(BaseException):
    """The step was looked at; nothing more is to be done."""


class _Examiner(pl.Callback):
    """Watches every module during one forward pass, then the gradients."""

    def __init__(self, failure: Mapping[str, Any]) -> None:
        self.found = Replayed(failure)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Look at the weights, and listen to all modules."""
        wrong = [name for name, value in pl_module.named_parameters() if not bool(value.isfinite().all())]
        self.found.weights = wrong
        for name, module in pl_module.named_modules():
            if name and not any(module.children()):
                module.register_forward_hook(self._listener(f"{name} ({type(module).__name__})"))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Note the terms, then go backward here."""
        self.found.terms = {name: float(value) for name, value in pl_module.step_terms.items()}
        loss.backward()  # type: ignore[no-untyped-call]
        self.found.gradients = [
            name
            for name, value in pl_module.named_parameters()
            if value.grad is not None and not bool(value.grad.isfinite().all())
        ]
        largest = sorted(self.found.largest.items(), key=lambda each: -each[1])[:10]
        self.found.largest = dict(largest)
        raise _Seen

    def _listener(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def listen(module: nn.Module, inputs: Any, output: Any) -> None:
            for value in output if isinstance(output, tuple | list) else [output]:
                if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
                    continue
                finite = value.detach().isfinite()
                n_wrong = int((~finite).sum())
                if n_wrong and not self.found.module:
                    self.found.module = f"{name}: {n_wrong} of {value.numel()} values"
                size = float(torch.where(finite, value.detach().float(), 0.0).abs().max())
                self.found.largest[name] = max(size, self.found.largest.get(name, 0.0))

        return listen


def write(found: Replayed) -> str:
    """As JSON."""
    values = {**vars(found), "again": found.again}
    values["terms"] = {name: str(value) for name, value in found.terms.items()}
    values["failure"] = {
        **found.failure,
        "terms": {name: str(value) for name, value in found.failure["terms"].items()},
    }
    return json.dumps(values, indent=1)
