"""Presets meet small data sets: what a preset asks for and the data cannot give is adapted, and said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fghash.settings.config import Choice, RunConfig


@dataclass(frozen=True)
class DataFacts:
    """What a preset has to fit: items of an epoch, classes, and whether items have several labels."""

    n_items: int
    n_classes: int
    multi_hot: bool


def adapted(config: RunConfig, facts: DataFacts) -> tuple[RunConfig, list[str]]:
    """The config with a batch size and a sampler that the data can fill, and a line for each change.

    What the user set is left alone, to be refused where it does not fit.
    """
    changes: dict[str, Any] = {}
    for key, value in _changes(config, facts):
        changes[key] = value
        config = _with(config, key, value)
    lines = [
        f"{key}: {value}, adapted to the data (the preset's value does not fit)"
        for key, value in changes.items()
    ]
    return config, lines


def _changes(config: RunConfig, facts: DataFacts) -> Iterator[tuple[str, Any]]:
    size = config.batch_size
    if size > facts.n_items >= 2 and "batch_size" not in config.asked:
        size = facts.n_items
        yield "batch_size", size
    if config.data.settings.get("sampler") != "pk":
        return
    if facts.multi_hot and "data.sampler" not in config.asked:
        yield "data.sampler", "shuffle"
    elif "data.classes_per_batch" not in config.asked:
        wanted = int(config.data.settings["classes_per_batch"])
        fitting = _classes(size, wanted, facts.n_classes)
        if fitting != wanted:
            yield "data.classes_per_batch", fitting


def _classes(batch_size: int, wanted: int, n_classes: int) -> int:
    """The largest number of classes that shares a batch equally, two items of each if possible."""
    most = min(wanted, n_classes, batch_size)
    if wanted <= most and batch_size % wanted == 0:
        return wanted
    shares = [count for count in range(1, most + 1) if batch_size % count == 0]
    pairs = [count for count in shares if batch_size // count >= 2]
    return max(pairs or shares)


def _with(config: RunConfig, key: str, value: Any) -> RunConfig:
    section, _, name = key.rpartition(".")
    if not section:
        return replace(config, **{name: value})
    return replace(config, data=Choice(config.data.name, {**config.data.settings, name: value}))
