"""What a study found, as a preset that ``--preset FILE`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fghash import __version__
from fghash.display import harmless
from fghash.errors import InputError
from fghash.files import replacing
from fghash.presets import SECTIONS, read_preset
from fghash.settings.config import plain
from fghash.settings.sources import over
from fghash.tuning.trials import Plan, ended_trials, nested


def write_tuned(plan: Plan, study: Any, path: Path, command: str) -> dict[str, Any]:
    """Write the best trial's settings over the preset that tuning started from.

    Returns the facts in its ``tuned`` section.

    Raises:
        InputError: no trial was completed, or the file cannot be written.
    """
    counts = ended_trials(study)
    if not counts["complete"]:
        raise InputError(f"tune: none of {sum(counts.values())} trials was completed, nothing to write")
    best = {each.setting: each.value(study.best_params[each.setting]) for each in plan.space}
    facts = {
        "trials": sum(counts.values()),
        "pruned": counts["pruned"],
        "failed": counts["fail"],
        "image_passes": study.best_trial.user_attrs.get("image_passes"),
        "validation": plan.base.data.settings.get("validation"),
        "val_map": round(float(study.best_value), 6),
        "seed": plan.seed,
        "command": harmless(command.replace(str(Path.home()), "~")),
        "fghash": __version__,
    }
    preset = read_preset(plan.base.method.name, plan.base.preset)
    preset = over(preset, nested({**plan.fixed, **best}))
    body = {key: plain(preset[key]) for key in SECTIONS if key in preset}
    text = _header(plan, facts) + yaml.safe_dump({**body, "tuned": facts}, sort_keys=False)
    with replacing(path, "--out") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return facts


def _header(plan: Plan, facts: Mapping[str, Any]) -> str:
    base = plan.base
    counts = f"{facts['trials']} trials ({facts['pruned']} pruned, {facts['failed']} failed)"
    lines = (
        f"{base.method.name}, tuned for {base.bits} bits on {base.data.name} with {base.backbone.name}:",
        f"the best of {counts} by val/map {facts['val_map']}",
        f"on {facts['validation']:g} of the training images; test queries were not read.",
    )
    return "".join(f"# {line}\n" for line in lines)
