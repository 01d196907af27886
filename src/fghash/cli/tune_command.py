"""``fghash tune``: the same number of trials and image passes for every method, scored on a part of train."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.errors import InputError
from fghash.settings.flags import read_flags
from fghash.settings.numbers import whole, yes_or_no
from fghash.settings.resolve import check_files, check_gpus, check_source, choose, refuse_cpus
from fghash.settings.sources import flag_layer, notice, read_config

if TYPE_CHECKING:
    from fghash.tuning.trials import Plan

HELP = """\
Look for good settings of a method: trainings on a part of the training images, scored on the rest of them
(--data.validation), never on test queries. The first trial has the preset's settings, later ones are drawn by
Optuna from presets/<method>/space.yaml and the space that all methods share. The best becomes a preset:
OUT/<data>-<backbone>-<bits>/<method>.yaml, for fghash fit --preset FILE. The same command resumes.

  fghash tune --method hashnet --data cub200 --data.root cub --data.validation 0.2 --trials 20 \\
      --backbone resnet50 --backbone.weights pretrained --backbone.freeze all --data.features cache

settings:
  --trials N           trials, pruned and failed ones included (default 20)
  --passes N           image passes of each trial (default: 30 times the training images)
  --out DIR            where tuned presets and the studies' journals go (default tuned)
  --space FILE         instead of the method's own search space
  --prune true|false   stop trials that are below the median of the earlier ones (default true)
  --tune_seed N        of the draws (default 0)
  --importance         after the trials (or --trials 0 to run none) print which settings mattered, and plot it
  and everything that fghash fit takes
"""

_OWN = {"trials": 20, "passes": None, "out": "tuned", "space": None, "prune": True, "tune_seed": 0}


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash tune ARGV``; the exit status."""
    words = [word for word in argv if word != "--importance"]
    flags = read_flags(words)
    if flags.help or not argv:
        print(HELP, end="")
        return 0
    own = {key: flags.values.pop(key, default) for key, default in _OWN.items()}
    layers = [*map(read_config, flags.configs), flag_layer(flags.values)]
    request = choose(layers)
    check_source(request)
    refuse_cpus(request, "a trial trains on one process")
    check_gpus(request)
    check_files(request)
    out = _folder(own["out"])
    plan = _plan([layer.values for layer in layers], own)
    return _tune(plan, out, importance="--importance" in argv, command=argv)


def _plan(sources: Sequence[dict[str, Any]], own: dict[str, Any]) -> Plan:
    from fghash.settings.resolve import configure
    from fghash.tuning.spaces import read_space
    from fghash.tuning.trials import Plan, check

    quiet = {"trainer": {"enable_progress_bar": False}}
    given = ({**quiet}, *sources)
    base = configure(given)
    space = None if own["space"] is None else Path(own["space"])
    passes = None if own["passes"] is None else whole(own["passes"], "--passes", 1)
    plan = Plan(
        base,
        given,
        read_space(base.method.name, base.backbone.freeze == "all", space),
        whole(own["trials"], "--trials", 0, 100_000),
        passes,
        whole(own["tune_seed"], "--tune_seed", 0, 2**31),
        yes_or_no(own["prune"], "--prune"),
    )
    check(plan)
    return plan


def _tune(plan: Plan, out: Path, importance: bool, command: Sequence[str]) -> int:
    from fghash.tuning.importance import importances, lines, plot
    from fghash.tuning.trials import opened_study, run_trials
    from fghash.tuning.tuned_preset import write_tuned

    folder, method = out / plan.folder, plan.base.method.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot write '{folder}' ({error.strerror})") from error
    with opened_study(plan, folder / f"{method}.journal") as study:
        run_trials(plan, study, lambda text: print(text, flush=True))
        preset = folder / f"{method}.yaml"
        if plan.trials:
            facts = write_tuned(plan, study, preset, shlex.join(["fghash", "tune", *command]))
            print(
                f"best val/map {facts['val_map']:.4f} of {facts['trials']} trials ({facts['pruned']} pruned)"
            )
            print(f"tuned preset: {preset}; use fghash fit --method {method} --preset {preset}")
        if importance:
            shares = importances(study)
            print("\n".join(lines(shares)))
            picture = folder / f"{method}.importance.png"
            plot(shares, picture, f"{method} on {plan.folder}")
            notice(f"plot: {picture}")
    return 0


def _folder(value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise InputError(f"--out: expected a folder, got {value!r}")
    return Path(value).expanduser()
