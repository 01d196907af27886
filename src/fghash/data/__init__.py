"""The data sets, by name. Nothing is imported until one is chosen."""

from __future__ import annotations

from fghash.registry import DatasetInfo

DATASETS: dict[str, DatasetInfo] = {}
