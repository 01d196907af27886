"""Presets: the settings a method is run with unless told otherwise, each with its origin, one YAML a preset.

``default`` is our fine-grained recipe, ``faithful`` the published one. A preset may hold ``method``,
``optim``, ``batch_size``, ``trainer`` and ``data`` (sampler, augmentation), but no backbone: methods meet on
the same one.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

from fghash.errors import InputError
from fghash.registry import nearest

DEFAULT = "default"


def preset_names(method: str) -> tuple[str, ...]:
    """The presets of ``method``, ``default`` first; a method of another package may have no other."""
    folder = resources.files(__name__) / method
    files = folder.iterdir() if folder.is_dir() else ()
    others = {entry.name.removesuffix(".yaml") for entry in files if entry.name.endswith(".yaml")} - {DEFAULT}
    return (DEFAULT, *sorted(others))


def read_preset(method: str, preset: str = DEFAULT) -> dict[str, Any]:
    """The settings of a preset, nested as in a config file; empty for a method that brings no file.

    Raises:
        InputError: the method has no preset of that name.
    """
    known = preset_names(method)
    if preset not in known:
        allowed = f"(known: {', '.join(known)}){nearest(preset, known)}"
        raise InputError(f"--preset: method {method} has no preset '{preset}' {allowed}")
    file = resources.files(__name__) / method / f"{preset}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file.is_file() else {}
