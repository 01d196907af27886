"""Upload finished runs of a store to W&B that were made offline, or without it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from fghash.errors import InputError
from fghash.evaluation.curves import ranks_curve
from fghash.settings.config import TrackingConfig
from fghash.store import RunFolder
from fghash.store.index import run_names
from fghash.training.tracking import (
    Followed,
    Memory,
    build_loggers,
    finish,
    log_artifacts,
    log_config,
    log_curve,
    log_scores,
)


def sync(runs: Path, tracking: TrackingConfig, again: bool, say: Callable[[str], None]) -> int:
    """Upload every finished run that has not been uploaded; how many were.

    Args:
        runs: the store.
        tracking: project, entity, group, tags, and whether to write it offline.
        again: upload those too that have been.
        say: is told a line a run.

    Raises:
        InputError: there is no such folder.
    """
    names = run_names(runs)
    count = 0
    for name in names:
        folder = RunFolder(runs / name)
        if folder.records() and (again or not Memory.read_stored(folder.path).synced):
            _upload(folder, tracking)
            count += 1
            say(f"[{count}] {name}")
    return count


def _upload(folder: RunFolder, tracking: TrackingConfig) -> None:
    """One run: config, every logged step, scores, curve, and the lineage of its codes."""
    records = folder.records()
    first = records[0]
    names = (first.method, first.data, first.trained_bits, first.seed)
    followed = Followed.of(folder.path, *names, synced=True)
    loggers = build_loggers(tracking, followed)[1:]  # the CSV is where this comes from
    log_config(loggers, _config(folder))
    for step, metrics in _steps(folder.path):
        for logger in loggers:
            logger.log_metrics(metrics, step=step)
    log_scores(loggers, [{**each.scores, "gallery_codes": each.gallery_codes} for each in records])
    groups = folder.read_groups(first.bits, first.gallery_codes)
    if groups is not None and (groups.n_relevant > 0).any():
        log_curve(loggers, ranks_curve(groups))
    facts = {"fingerprint": first.data_fingerprint, "description": first.data_description}
    log_artifacts(loggers, followed, {"name": first.data, **facts})
    finish(loggers)


def _config(folder: RunFolder) -> dict[str, Any]:
    try:
        values = yaml.safe_load(folder.read_config())
    except (InputError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _steps(folder: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """What the CSVs of all attempts say, by step: of a repeated step the last attempt's."""
    steps: dict[int, dict[str, float]] = {}
    for path in sorted((folder / "logs").glob("*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                step = row.get("step") or ""
                numbers = {key: _number(value) for key, value in row.items() if key not in ("step", "epoch")}
                known = {key: value for key, value in numbers.items() if value is not None}
                if step.isdecimal() and not any(key.startswith("test/") for key in known):
                    steps.setdefault(int(step), {}).update(known)
    yield from sorted(steps.items())


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
