"""The settings in which a run differs from a preset, as text: the column ``variant`` of the leaderboard."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from fghash.errors import InputError
from fghash.presets import read_preset
from fghash.registry import METHODS, look_up
from fghash.settings.config import BackboneConfig, Choice, OptimConfig, RunConfig, plain, scientific

OWN_TRAINER = {"max_epochs": 30}  # below every preset; Lightning's own default is 1000
COLUMNS = {"method.name", "data.name", "backbone.name", "bits", "seed"}  # columns of their own, never varied

_MISSING = object()
_SETTING = re.compile(r"\s+(?=[A-Za-z_][\w.]*=)")
_T = TypeVar("_T")


def variant(stored: Mapping[str, Any], recorded: str) -> str:
    """How a run differs from the preset that its config names, as that preset is today.

    Nothing is imported to find out: a parameter of a method or a data set that the preset does not name is
    compared by ``recorded``, what was noted when the run was made.

    Args:
        stored: the run's ``config.yaml`` as plain nested values.
        recorded: the variant in the run's record.

    Returns:
        ``key=value`` of each setting that differs, sorted; ``recorded`` where method or preset are not known.
    """
    try:
        ours = flat(scientific(_rebuilt(stored)))
        look_up(METHODS, ours["method.name"], "method")
        theirs = _preset(ours["method.name"], str(stored.get("preset", "")))
    except (InputError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return recorded
    noted = {setting.partition("=")[0] for setting in settings_of(recorded)}
    keys = sorted(
        key for key in (ours.keys() | theirs.keys()) - COLUMNS if _differs(key, ours, theirs, noted)
    )
    return " ".join(shown(key, ours.get(key)) for key in keys)


def settings_of(variant: str) -> list[str]:
    """The settings that a variant lists, one ``key=value`` each; a value may hold spaces.

    >>> settings_of("data.crop=a b trainer.max_epochs=2")
    ['data.crop=a b', 'trainer.max_epochs=2']
    """
    return [setting for setting in _SETTING.split(variant.strip()) if setting]


def shown(key: str, value: Any) -> str:
    """One setting of a variant: text as it is, everything else as JSON.

    >>> shown("data.crop_scale", [0.3, 1.0]), shown("method.pool", "avg")
    ('data.crop_scale=[0.3,1.0]', 'method.pool=avg')
    """
    return f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under dotted keys.

    >>> flat({"optim": {"lr": 0.1}, "bits": 32})
    {'optim.lr': 0.1, 'bits': 32}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= {f"{key}.{below}": each for below, each in flat(value).items()}
        else:
            found[key] = plain(value)
    return found


@cache
def _preset(method: str, preset: str) -> dict[str, Any]:
    """The settings that the preset and our own defaults name, flat."""
    named = {key: value for key, value in read_preset(method, preset).items() if value is not None}
    trainer = {**OWN_TRAINER, **named.get("trainer", {})}
    return flat(scientific(_rebuilt({"method": {}, "data": {}, **named, "trainer": trainer})))


def _rebuilt(values: Mapping[str, Any]) -> RunConfig:
    """The part of a stored config that counts; what is missing has the default of today."""
    return RunConfig(
        method=_choice(values["method"]),
        data=_choice(values["data"]),
        backbone=_known(BackboneConfig, values.get("backbone", {})),
        optim=_known(OptimConfig, values.get("optim", {})),
        trainer=dict(values["trainer"]),
        bits=values.get("bits", RunConfig.bits),
        batch_size=values.get("batch_size", RunConfig.batch_size),
        seed=values.get("seed", RunConfig.seed),
    )


def _choice(settings: Mapping[str, Any]) -> Choice:
    return Choice(str(settings.get("name")), {key: settings[key] for key in settings if key != "name"})


def _known(kind: type[_T], settings: Mapping[str, Any]) -> _T:
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in settings.items() if key in names})


def _differs(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], noted: set[str]) -> bool:
    of_class = key.startswith(("method.", "data."))
    if key not in theirs:
        return not of_class or key in noted
    if key not in ours:
        return not of_class  # a parameter that the version of that run did not know
    return not _equal(ours[key], theirs[key])


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) != isinstance(other, str):  # YAML reads 1e-3 as text
        try:
            return float(one) == float(other)
        except (TypeError, ValueError, OverflowError):
            return False
    return bool(one == other)
