"""``fghash fit``: flags, files and preset to a RunConfig, which :func:`fghash.api.fit` carries out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fghash.registry import DATASETS, METHODS, look_up
from fghash.settings.config import BackboneConfig, RunConfig, document

if TYPE_CHECKING:
    from fghash.api import RunResult
from fghash.settings.flags import read_flags
from fghash.settings.resolve import DATA, Request, check_files, check_gpus, check_source, choose, resolve
from fghash.settings.sources import chosen, flag_layer, notice, read_config

HELP = f"""\
Train a method, then encode, evaluate, store and rewrite RUNS/leaderboard.csv. The same command resumes an
interrupted run and skips a finished one.

  fghash fit --method hashnet --data synthetic --bits 32 --gpus 0

chosen by name, with its settings below the same word (--method.alpha 0.1), in any order:
  --method NAME        the hashing method (required; fghash list methods)
  --data NAME          the data set (default {DATA}; fghash list datasets); --data.root DIR where it lies
  --backbone NAME      a timm model (default {BackboneConfig.name}, small enough for a CPU);
                       --backbone.weights none|pretrained|FILE; --backbone.options.KEY VALUE for timm
  --optim NAME         sgd, adam, adamw or rmsprop; --optim.lr, ...
  --tracking NAMES     wandb, tensorboard or both with a comma (default none); --tracking.project P
  --trainer.KEY VALUE  any argument of Lightning's Trainer, e.g. --trainer.max_epochs 100

settings:
  --bits N             code length (default 32)
  --gpus N             number of GPUs, 0 for the CPU, or the numbers of some, as 0,2 (default auto: all that
                       are visible)
  --cpus N             processes on the CPU (gloo): everything that several GPUs do, to try it without one
  --batch_size N       images per step, over all GPUs together
  --seed N             (default 0)
  --cutoffs K [K ...]  the k of the scores @k (default 1 10 100)
  --runs DIR           folder of the store (default runs)
  --store_embeddings true|false   store real embeddings (default: below 200 MB)
  --score_at P,P,...   with --data.validation: store val/map after these parts of the training (0.25,0.5,1)
  --checkpoint_minutes M          training time that a killed run may lose (default 10; 0: keep every epoch)
  --on_nan stop|skip N            at a loss that is no number: stop (default), or leave out up to N batches
  --preset NAME        default (fine-grained recipe) or faithful (as published)
  --config FILE        settings as YAML, over the preset, under the flags; several: the later one wins
  --force              run again although finished
  --print_config       print the YAML that alone re-runs this run, and stop

  fghash fit --method NAME [--data NAME] --help   lists the settings of that method and data set
"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash fit ARGV``; the exit status."""
    flags = read_flags(argv)
    layers = [*map(read_config, flags.configs), flag_layer(flags.values)]
    if flags.help:
        print(_help([chosen(layers, "method"), chosen(layers, "data")]), end="")
        return 0
    request = choose(layers)
    for text in request.notices:
        notice(text)
    return _print_config(request) if flags.print_config else _fit(request)


def _print_config(request: Request) -> int:
    import yaml

    print(yaml.safe_dump(document(resolve(request)), sort_keys=False, allow_unicode=True), end="")
    return 0


def _fit(request: Request) -> int:
    check_source(request)
    check_gpus(request)
    check_files(request)
    _check_writable(request)
    config = resolve(request)
    from fghash.api import fit  # imports torch, which the checks above did without

    return _show(config, fit(config, say=_say))


def _show(config: RunConfig, result: RunResult) -> int:
    """Rewrite the leaderboard, print this run's rows and say where the rest is."""
    if not result.records:
        return 0  # another process of this training shows them
    from fghash.report import print_table, write_leaderboard

    out = config.runs / "leaderboard.csv"
    frame = write_leaderboard(config.runs, [out])
    of_run = frame["group"].isin({record.group for record in result.records})
    print_table(frame[of_run & (frame["protocol"] == result.records[0].protocol)])
    _say(f"run: {result.folder}\nleaderboard: {out}")
    return 2 if any(record.scores.get("map") is None for record in result.records) else 0


def _say(text: str) -> None:
    """A line about a run: warnings to stderr, the rest to stdout."""
    if text.startswith("warning: "):
        notice(text)
    else:
        print(text, flush=True)


def _check_writable(request: Request) -> None:
    from fghash.store import require_writable

    require_writable(request.single.get("runs", RunConfig.runs))


def _help(names: Sequence[str | None]) -> str:
    method, data = names
    sections = []
    if method or data:
        from fghash.settings.typed import SettingsParser, data_section, method_section
    if method:
        look_up(METHODS, method, "--method")
        sections.append(method_section(method))
    if data:
        look_up(DATASETS, data, "--data")
        sections.append(data_section(data))
    return SettingsParser(sections).help() if sections else HELP
