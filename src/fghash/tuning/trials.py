"""A study: trials of one method, each a training that is scored on the validation part of train."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from filelock import Timeout

from fghash.errors import InputError
from fghash.files import acquired
from fghash.pipeline import Run, build_data, cache_features, prepare
from fghash.registry import METHODS
from fghash.settings.config import RunConfig, document, scientific
from fghash.settings.identity import canonical_json
from fghash.settings.resolve import configure
from fghash.settings.variants import flat
from fghash.training.fitting import fit_closed_form
from fghash.training.lean_loop import use_lean_loop
from fghash.training.trainer import build_trainer, choose_devices
from fghash.tuning.spaces import Dimension, check_settings

Say = Callable[[str], None]
ERROR = "error"  # of a failed trial, among its attributes
_REPORTS = 5  # scores of a trial on its way, by which it may be pruned


@dataclass(frozen=True)
class Plan:
    """What is tuned, and for how much.

    Args:
        base: the run whose settings are the starting point; it has a validation split.
        sources: the plain settings that ``base`` was resolved from.
        space: what is varied.
        trials: how many, pruned and failed ones included.
        passes: images that each trial trains on; ``None``: 30 epochs' worth.
        seed: of the draws.
        prune: stop a trial whose score is below the median of the earlier ones at the same point.
    """

    base: RunConfig
    sources: tuple[Mapping[str, Any], ...]
    space: tuple[Dimension, ...]
    trials: int = 20
    passes: int | None = None
    seed: int = 0
    prune: bool = True

    @property
    def fixed(self) -> dict[str, Any]:
        """Settings that are the same in all trials: under a frozen backbone one rate, that of the head."""
        varied = {each.setting for each in self.space}
        frozen = self.base.backbone.freeze == "all" and "optim.head_multiple" not in varied
        learns = not METHODS[self.base.method.name].closed_form
        return {"optim.head_multiple": 1.0} if frozen and learns else {}

    @property
    def folder(self) -> str:
        """``<data>-<backbone>-<bits>``; of one's own data with their title."""
        base = self.base
        title = base.data.settings.get("title")
        parts = [base.data.name, *([title] if title else []), base.backbone.name, str(base.bits)]
        return "-".join(re.sub(r"[^\w.]+", "_", str(part)) for part in parts)

    def study(self, fingerprint: str) -> str:
        """Name of the study: it goes on only with the same data, space, settings and budget."""
        base = scientific(self.base)
        said = [base, fingerprint, [repr(each) for each in self.space], self.passes, self.seed, self.prune]
        weights = self.base.backbone.weights
        digest = hashlib.sha256(canonical_json([*said, weights]).encode()).hexdigest()[:12]
        return f"{self.base.method.name}-{digest}"


def check(plan: Plan) -> None:
    """Refuse what cannot be tuned.

    Raises:
        InputError: no validation split, or a setting in the space that the run does not have.
    """
    validation = float(plan.base.data.settings.get("validation") or 0)
    if not validation:
        raise InputError(
            "--data.validation: 0, expected a share of the training images such as 0.2 (trials are scored on "
            "it, never on test queries)"
        )
    check_settings(plan.space, flat(document(plan.base)))


@contextmanager
def opened_study(plan: Plan, journal: Path) -> Iterator[Any]:
    """The Optuna study in ``journal``, begun or continued, for this process alone.

    A trial that a kill left running is run again.

    Raises:
        InputError: Optuna is not installed, the journal is damaged, or another process has it.
    """
    optuna = import_optuna()
    name = plan.study(build_data(plan.base, with_queries=False).fingerprint)
    try:
        lock = acquired(journal.with_name(f".{journal.name}.lock"))
    except Timeout:
        raise InputError(f"--out: '{journal}' is in use by another fghash tune, wait for its end") from None
    try:
        study = _study(optuna, name, journal, plan.prune)
        _repeat_killed(optuna, study)
        done = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=plan.seed * 100_003 + done)
        if not done:
            study.enqueue_trial(_start(plan), skip_if_exists=True)
        yield study
    finally:
        lock.release()


def _study(optuna: Any, name: str, journal: Path, prune: bool) -> Any:
    pruners = optuna.pruners
    pruner = pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=40) if prune else pruners.NopPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            backend = optuna.storages.journal.JournalFileBackend(str(journal))
            storage = optuna.storages.JournalStorage(backend)
            return optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"--out: '{journal}' is damaged ({error}); delete it to begin anew") from error


def _repeat_killed(optuna: Any, study: Any) -> None:
    states = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        study.enqueue_trial(trial.params)


def ended_trials(study: Any) -> dict[str, int]:
    """How many trials were completed, pruned, and failed by an error; killed ones do not count."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state.name for trial in trials if trial.state.name != "FAIL" or ERROR in trial.user_attrs]
    return {name: states.count(name.upper()) for name in ("complete", "pruned", "fail")}


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("tune: needs the package optuna (pip install 'fghash[tune]')") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _start(plan: Plan) -> dict[str, Any]:
    """The settings of the preset as the first trial, as far as the space has them."""
    known = flat(document(plan.base))
    if plan.fixed:
        known["optim.lr"] *= known["optim.head_multiple"]
    values = {each.setting: each.parameter(known.get(each.setting)) for each in plan.space}
    return {setting: value for setting, value in values.items() if value is not None}


def run_trials(plan: Plan, study: Any, say: Say) -> None:
    """Trials until there are as many as planned.

    Raises:
        InputError: what no trial could have, such as unreadable images or a backbone that is not frozen.
    """
    optuna = import_optuna()
    shared: dict[str, Any] = {}
    while (number := sum(ended_trials(study).values())) < plan.trials:
        trial = study.ask()
        settings = {each.setting: each.draw(trial) for each in plan.space}
        try:
            value = _score(plan, settings, trial, shared)
            study.tell(trial, value)
            outcome = f"val/map {value:.4f}"
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            outcome = "pruned"
        except InputError as error:
            trial.set_user_attr(ERROR, str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if number == 0:
                raise  # with the preset's own settings: not the fault of a draw
            outcome = f"failed ({error})"
        say(f"{plan.base.method.name} trial {number + 1}/{plan.trials}: {outcome}{_best(study)}")


def _best(study: Any) -> str:
    try:
        return f" (best {study.best_value:.4f}, trial {study.best_trial.number + 1})"
    except ValueError:
        return ""


def _score(plan: Plan, settings: Mapping[str, Any], trial: Any, shared: dict[str, Any]) -> float:
    """``val/map`` at the end of one training; test queries are not even in memory."""
    config = configure([*plan.sources, nested({**plan.fixed, **settings})])
    run = prepare(config, with_queries=False)
    devices = choose_devices(config.gpus)
    _with_cached_features(run, devices, shared)
    epochs, passes = epochs_for(plan, run)
    trial.set_user_attr("image_passes", passes)
    with tempfile.TemporaryDirectory(prefix="fghash-tune-") as folder:
        changed = {**config.trainer, "max_epochs": epochs, "enable_progress_bar": sys.stderr.isatty()}
        changed["check_val_every_n_epoch"] = max(1, epochs // _REPORTS)
        trainer = build_trainer(
            Path(folder), devices, changed, seed=config.seed, loggers=[], validates=True, keeps=False
        )
        if run.method.closed_form:
            fit_closed_form(trainer, run.method, run.data)
            return float(trainer.callback_metrics["val/map"])
        reporter = _Reporter(trial, epochs)
        trainer.callbacks.append(reporter)  # type: ignore[attr-defined]
        use_lean_loop(trainer, run.method)
        trainer.fit(run.method, datamodule=run.data)
        if trainer.interrupted:
            raise KeyboardInterrupt
    if reporter.last is None or not math.isfinite(reporter.last):
        raise InputError("val/map: none was computed")
    return reporter.last


def _with_cached_features(run: Run, devices: Any, shared: dict[str, Any]) -> None:
    """Features are read once for all trials of a process."""
    if run.data.features is None:
        return
    key = json.dumps([run.data.views, str(run.method.reads)])
    if key not in shared:
        cache_features(run, devices)
        shared[key] = [run.data.splits.train.source]
    else:
        run.data.use_features(shared[key])


def epochs_for(plan: Plan, run: Run) -> tuple[int, int]:
    """Epochs that come closest to the planned image passes, one at least, and the passes that they are."""
    items, size = run.data.train_items_of_epoch(), run.config.batch_size
    an_epoch = max(1, items // size) * size
    passes = 30 * len(run.data.train_labels) if plan.passes is None else plan.passes
    epochs = max(1, round(passes / an_epoch))
    return epochs, epochs * an_epoch


class _Reporter(pl.Callback):
    """Tells the study how far a trial has come, and stops one that falls behind."""

    def __init__(self, trial: Any, epochs: int) -> None:
        self.trial, self.epochs = trial, epochs
        self.last: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the score as of a hundredth of the training, so that other batch sizes compare."""
        value = trainer.callback_metrics.get("val/map")
        if value is None:
            return
        self.last = float(value)
        progress = round(100 * (trainer.current_epoch + 1) / self.epochs)
        self.trial.report(self.last, progress // 20 * 20)
        if trainer.current_epoch + 1 < self.epochs and self.trial.should_prune():
            raise import_optuna().TrialPruned


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted settings as a config file has them.

    >>> nested({"optim.lr": 0.1, "batch_size": 32})
    {'optim': {'lr': 0.1}, 'batch_size': 32}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        *branches, leaf = key.split(".")
        place = found
        for branch in branches:
            place = place.setdefault(branch, {})
        place[leaf] = value
    return found
