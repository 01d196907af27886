"""Presets: the settings a method is run with unless told otherwise, each with its origin, one YAML a preset.

``default`` is our fine-grained recipe, ``faithful`` the published one. A preset may hold ``method``,
``optim``, ``batch_size``, ``trainer`` and ``data`` (sampler, augmentation), but no backbone: methods meet on
the same one. Of the backbone it may only say whether batch statistics are kept (``freeze_batchnorm``), which
depends on how a method fills its batches. Where two recipes are needed, ``pretrained`` and ``scratch`` name
what the network starts from.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from fghash.errors import InputError
from fghash.registry import METHODS, nearest

DEFAULT = "default"
SECTIONS = ("method", "optim", "batch_size", "trainer", "data", "backbone")
_OF_BACKBONE = {"freeze_batchnorm"}
_TUNED = "tuned"  # section of a tuned preset: how it was found
_SPACE = "space.yaml"  # a method's search space, beside its presets


def preset_names(method: str) -> tuple[str, ...]:
    """The presets of ``method``, ``default`` first; a method of another package may have no other."""
    folder = preset_folder(method)
    files = folder.iterdir() if folder.is_dir() else ()
    others = {
        entry.name.removesuffix(".yaml")
        for entry in files
        if entry.name.endswith(".yaml") and entry.name != _SPACE
    }
    others -= {DEFAULT}
    return (DEFAULT, *sorted(others))


def read_preset(method: str, preset: str = DEFAULT) -> dict[str, Any]:
    """The settings of a preset, nested as in a config file; empty for a method that brings no file.

    ``preset`` may also be the path of a YAML file.

    Raises:
        InputError: the method has no preset of that name, or the file holds anything but settings.
    """
    if preset.endswith((".yaml", ".yml")):
        return {key: value for key, value in _read_file(Path(preset)).items() if key != _TUNED}
    known = preset_names(method)
    if preset not in known:
        allowed = f"(known: {', '.join(known)}){nearest(preset, known)}"
        raise InputError(f"--preset: method {method} has no preset '{preset}' {allowed}")
    return deepcopy(_packaged(method, preset))


def tuning_trials(preset: str) -> int | None:
    """How many trials a tuned preset file was chosen from; ``None`` of any other preset."""
    if not preset.endswith((".yaml", ".yml")):
        return None
    tuned = _read_file(Path(preset)).get(_TUNED)
    trials = tuned.get("trials") if isinstance(tuned, dict) else None
    return trials if isinstance(trials, int) else None


def shared_folder() -> Traversable:
    """Where the search space that all methods share lies."""
    return resources.files(__name__)


def preset_folder(method: str) -> Traversable:
    """Where the presets of the method lie: here, or in the package that it came with."""
    package, _, below = METHODS[method].presets.partition(":") if method in METHODS else ("", "", "")
    if not package:
        return resources.files(__name__) / method
    folder = resources.files(package)
    return folder.joinpath(*below.split("/")) if below else folder


@cache
def _packaged(method: str, preset: str) -> dict[str, Any]:
    """A preset that came with a package, read once: a table asks for it with every cell."""
    file = preset_folder(method) / f"{preset}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file.is_file() else {}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"--preset: cannot read '{path}' ({' '.join(str(error).split())})") from None
    unknown = (
        sorted(map(str, set(content) - {*SECTIONS, _TUNED})) if isinstance(content, dict) else [str(content)]
    )
    if unknown:
        allowed = ", ".join(SECTIONS)
        raise InputError(f"--preset: '{path}' holds '{unknown[0]}', expected {allowed}")
    of_backbone = content.get("backbone") or {}
    if not isinstance(of_backbone, dict) or set(of_backbone) - _OF_BACKBONE:
        raise InputError(
            f"--preset: backbone of '{path}' is {of_backbone!r}, expected freeze_batchnorm alone"
        )
    return dict(content)
