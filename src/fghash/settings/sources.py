"""Where settings come from: preset < config files in order < flags, each nested and in one normal form."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fghash.display import harmless
from fghash.errors import InputError
from fghash.registry import nearest
from fghash.settings.config import TRACKERS, plain
from fghash.settings.flags import NAMED, SECTIONS, SINGLE
from fghash.settings.trainer_arguments import as_written, refuse

_FLAGS = "flags"


@dataclass(frozen=True)
class Layer:
    """Settings of one origin: nested, with each section a mapping and chosen names under ``name``."""

    origin: str
    values: dict[str, Any]

    def label(self, key: str) -> str:
        """How to name a setting of this source to the user: as a flag, or as a line of a file."""
        return f"--{key}" if self.origin == _FLAGS else f"{self.origin}: {key}"

    def name(self, section: str) -> str | None:
        """The name chosen in ``section`` here, if any."""
        name: str | None = self.values.get(section, {}).get("name")
        return name


def flag_layer(values: Mapping[str, Any]) -> Layer:
    """The flags, in normal form."""
    return _normal(Layer(_FLAGS, dict(values)))


def preset_layer(method: str, preset: str, values: Mapping[str, Any]) -> Layer:
    """A preset's settings, in normal form."""
    return _normal(Layer(f"preset {method}/{preset}", dict(values)))


def read_config(path: Path) -> Layer:
    """The settings of a YAML file, in normal form.

    Raises:
        InputError: the file is missing or unreadable, is not YAML, or holds anything but known settings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"--config: cannot read '{path}' ({error.strerror})") from None
    except (UnicodeDecodeError, ValueError):
        raise InputError(f"--config: '{path}' is not text in UTF-8") from None
    return config_layer(text, str(path))


def config_layer(text: str, origin: str) -> Layer:
    """The settings of a YAML text, in normal form.

    Raises:
        InputError: it is not YAML, or holds anything but known settings.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"--config: '{origin}' is not YAML ({' '.join(str(error).split())})") from None
    if content is not None and not isinstance(content, dict):
        kind = type(content).__name__
        raise InputError(f"--config: '{origin}' holds a {kind}; expected settings, each as 'key: value'")
    return _normal(Layer(origin, content or {}))


def mapping_layer(values: Mapping[str, Any]) -> Layer:
    """Settings from Python, nested as in a file, in normal form.

    Raises:
        InputError: anything but known settings.
    """
    return _normal(Layer("settings", plain(dict(values))))


def _normal(layer: Layer) -> Layer:
    _check_top(layer)
    sections = {key: _section(layer, key) for key in layer.values if key in SECTIONS}
    for key, value in sections.get("trainer", {}).items():
        refuse(key, value, layer.label(f"trainer.{key}"))
        sections["trainer"][key] = as_written(key, value)
    return Layer(layer.origin, {**layer.values, **sections})


def _check_top(layer: Layer) -> None:
    known = (*SECTIONS, *SINGLE)
    for key, value in layer.values.items():
        if key not in known:
            hint = nearest(key, known)
            raise InputError(f"{layer.label(key)}: unknown setting '{key}' (known: {', '.join(known)}){hint}")
        if key in SINGLE and isinstance(value, dict):
            raise InputError(f"{layer.label(key)}: has no settings below it, got {sorted(map(str, value))}")


def _section(layer: Layer, key: str) -> dict[str, Any]:
    value = layer.values[key]
    if isinstance(value, dict):
        section = {str(name): each for name, each in value.items()}
    elif key in NAMED and isinstance(value, str | list):
        section = {"name": value}
    elif value is None:
        section = {}
    else:
        example = "a name or settings" if key in NAMED else "settings, e.g. --trainer.max_epochs 10"
        raise InputError(f"{layer.label(key)}: expected {example}, got {value!r}")
    if key == "tracking" and "name" in section:
        section["name"] = _trackers(layer, section["name"])
    elif key in NAMED and not isinstance(section.get("name", ""), str):
        raise InputError(f"{layer.label(key)}: expected a name, got {section['name']!r}")
    return section


def _trackers(layer: Layer, value: Any) -> list[str]:
    """The trackers of ``wandb,tensorboard``, of a list of them, or of ``none``."""
    words = value.split(",") if isinstance(value, str) else value or []
    names = [str(word).strip() for word in words]
    for name in [] if names == ["none"] else names:
        if name not in TRACKERS:
            known = f"(known: {', '.join(TRACKERS)}, none){nearest(name, TRACKERS)}"
            raise InputError(f"{layer.label('tracking')}: unknown name '{name}' {known}")
    return [] if names == ["none"] else names


def chosen(layers: Iterable[Layer], section: str) -> str | None:
    """The name that the last source to give one gives for ``section``."""
    names = [name for layer in layers if (name := layer.name(section)) is not None]
    return names[-1] if names else None


def settle(layers: Sequence[Layer], section: str) -> tuple[list[Layer], list[str]]:
    """Drop what earlier sources set for another choice than the last one.

    Returns the sources without those settings, and one line for each source that lost some.
    """
    last = max((i for i, layer in enumerate(layers) if _differs(layers[:i], layer, section)), default=0)
    notices, settled = [], []
    for i, layer in enumerate(layers):
        settings = [key for key in layer.values.get(section, {}) if key != "name"]
        if i < last and settings:
            dropped = f"dropped {', '.join(settings)} of {_whose(layer, section)}"
            notices.append(f"{section} is now {layers[last].name(section)}: {dropped}")
        settled.append(Layer(layer.origin, {**layer.values, section: {}}) if i < last else layer)
    return settled, notices


def _differs(earlier: Sequence[Layer], layer: Layer, section: str) -> bool:
    before = chosen(earlier, section)
    return before is not None and layer.name(section) not in (None, before)


def _whose(layer: Layer, section: str) -> str:
    name = layer.name(section)
    return f"{section} {name} ({layer.origin})" if name else f"{section} ({layer.origin})"


def merge(layers: Iterable[Layer]) -> dict[str, Any]:
    """All sources in one, later ones over earlier ones, key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = over(merged, layer.values)
    return merged


def over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings ``upper`` over ``lower``, key by key."""
    result = dict(lower)
    for key, value in upper.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = over(result[key], value) if both else value
    return result


def notice(text: str) -> None:
    """One line to the user on stderr, from the first process only."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"fghash: {harmless(text)}", file=sys.stderr)
