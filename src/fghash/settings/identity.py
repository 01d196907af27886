"""Which run is which: names made of what determines the codes, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any


def run_id(science: Mapping[str, Any], fingerprint: str, weights_hash: str) -> str:
    """16 hex digits that name a run: its settings (seed included), its data and its initial weights.

    >>> run_id({"bits": 32, "seed": 0}, "data", "none") == run_id({"seed": 0, "bits": 32}, "data", "none")
    True
    """
    text = canonical_json({"science": science, "data": fingerprint, "weights": weights_hash})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def group_id(science: Mapping[str, Any], fingerprint: str, weights_hash: str) -> str:
    """As :func:`run_id`, of everything but the seed: the runs that a row of the leaderboard averages.

    >>> group_id({"bits": 32, "seed": 0}, "data", "none") == group_id({"bits": 32, "seed": 1}, "data", "none")
    True
    """
    seedless = {key: value for key, value in science.items() if key != "seed"}
    return run_id(seedless, fingerprint, weights_hash)


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, tuples as lists, paths as text, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    )


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return value.as_posix()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a setting of type {type(value).__name__} has no canonical form: {value!r}")
