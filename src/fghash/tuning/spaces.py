"""Search spaces: what tuning may vary, as ranges and choices of settings.

A space is YAML, one setting a line, as ``optim.lr: {low: 1.0e-4, high: 0.1, log: true}``, with ``type: int``
where the numbers are whole, or ``{choice: [a, b]}``. All methods share one for the optimiser and the batches;
a method's own lies beside its presets and goes over it, ``null`` taking a setting out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fghash.errors import InputError
from fghash.presets import preset_folder, shared_folder
from fghash.registry import METHODS, nearest

SPACE, SHARED = "space.yaml", "shared_space.yaml"
_KEYS = {"low", "high", "log", "type", "choice", "frozen"}


@dataclass(frozen=True)
class Dimension:
    """One setting and the values that it may take: ``choices``, or numbers from ``low`` to ``high``."""

    setting: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def draw(self, trial: Any) -> Any:
        """A value, from an Optuna trial."""
        if self.choices:
            return self.choices[trial.suggest_categorical(self.setting, list(range(len(self.choices))))]
        if self.whole:
            return trial.suggest_int(self.setting, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.setting, self.low, self.high, log=self.log)

    def parameter(self, value: Any) -> Any:
        """What Optuna calls this value; ``None`` if the value is not in the space."""
        if self.choices:
            found = [i for i, choice in enumerate(self.choices) if choice == value]
            return found[0] if found else None
        fits = isinstance(value, int | float) and self.low <= value <= self.high
        return value if fits else None

    def value(self, parameter: Any) -> Any:
        """The setting's value of Optuna's parameter."""
        return self.choices[parameter] if self.choices else parameter


def read_space(method: str, frozen: bool, file: Path | None = None) -> tuple[Dimension, ...]:
    """The space of a method: the shared one under its own, or under ``file``.

    A method in closed form has no optimiser and no batches, hence no part in the shared one.

    Args:
        method: its name.
        frozen: the backbone is not trained, which leaves out what would play no part.
        file: instead of the method's own space.

    Raises:
        InputError: not a space, or no range or choice.
    """
    shared = _read((shared_folder() / SHARED).read_text(encoding="utf-8"), SHARED)
    if method in METHODS and METHODS[method].closed_form:
        shared = {}
    own: dict[str, Any] = {}
    if file is not None:
        try:
            own = _read(file.read_text(encoding="utf-8"), str(file))
        except (OSError, ValueError) as error:
            raise InputError(f"--space: cannot read '{file}' ({error})") from error
    elif (preset_folder(method) / SPACE).is_file():
        own = _read((preset_folder(method) / SPACE).read_text(encoding="utf-8"), f"{method}/{SPACE}")
    together = {**shared, **own}
    kept = {key: value for key, value in together.items() if value is not None}
    return tuple(
        _dimension(key, value) for key, value in kept.items() if value.get("frozen", True) or not frozen
    )


def check_settings(space: tuple[Dimension, ...], known: Mapping[str, Any]) -> None:
    """Refuse a space that names a setting which the run does not have.

    Args:
        space: what is drawn.
        known: dotted settings of the resolved run.

    Raises:
        InputError: naming the setting and the nearest known one.
    """
    for dimension in space:
        if dimension.setting not in known:
            raise InputError(
                f"space: unknown setting '{dimension.setting}' (expected a dotted setting such as optim.lr)"
                f"{nearest(dimension.setting, known)}"
            )


def _read(text: str, origin: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"space: '{origin}' is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"space: '{origin}' holds a {type(content).__name__}, expected settings with ranges")
    for key, value in content.items():
        if value is not None and (not isinstance(value, dict) or set(value) - _KEYS):
            raise InputError(f"space: {key} of '{origin}' is {value!r}, expected low and high, or choice")
    return {str(key): value for key, value in content.items()}


def _dimension(setting: str, given: Mapping[str, Any]) -> Dimension:
    choices = given.get("choice")
    if choices is not None:
        if not isinstance(choices, list) or not choices:
            raise InputError(f"space: choice of {setting} is {choices!r}, expected a list of values")
        return Dimension(setting, tuple(choices))
    low, high, log = given.get("low"), given.get("high"), bool(given.get("log", False))
    fine = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (low, high))
    if not fine or not low <= high or (log and low <= 0):  # type: ignore[operator]
        allowed = "low <= high, above 0 with log"
        raise InputError(f"space: {setting} is from {low!r} to {high!r}, expected numbers, {allowed}")
    whole = given.get("type") == "int"
    return Dimension(setting, (), float(low), float(high), log, whole)  # type: ignore[arg-type]
