"""A job as another machine can read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PLACES = (("data", "root"), ("data", "cache"), ("data", "features"), ("backbone", "weights"))


def portable(job: Mapping[str, Any], gpus: int) -> dict[str, Any]:
    """The job with ``gpus`` for its cell, and absolute paths wherever a setting names a file that is here.

    Other processes start in another folder.
    """
    settings = {
        key: dict(value) if isinstance(value, dict) else value for key, value in job["settings"].items()
    }
    for section, key in _PLACES:
        if isinstance(settings.get(section), dict) and key in settings[section]:
            settings[section][key] = _absolute(settings[section][key])
    if "preset" in settings:
        settings["preset"] = _absolute(settings["preset"])
    return {**job, "settings": {**settings, "gpus": gpus}, "processes": gpus}


def _absolute(value: Any) -> Any:
    """A path that exists, from the root; anything else as it is."""
    path = Path(str(value)).expanduser()
    return str(path.resolve()) if isinstance(value, str) and value and path.exists() else value
