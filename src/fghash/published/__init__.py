"""What the papers report, as CSV: every cell with its source, its certainty and the protocol behind it.

``value`` is the printed text, ``unit`` its scale (``fraction`` or ``percent``); an empty ``value`` is a cell
that the source hides. A fact that the source leaves out is ``not stated``. ``subset`` is empty for the whole
data set.
"""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files

import pandas as pd

PAPERS = {
    "hashnet": "HashNet: Deep Learning to Hash by Continuation (ICCV 2017)",
    "dpq": "Beyond Product Quantization: Deep Progressive Quantization for Image Retrieval (IJCAI 2019)",
    "fph": "Feature Pyramid Hashing (ICMR 2019); only its own row is known, one cell of it hidden",
    "exchnet": "ExchNet: A Unified Hashing Network for Large-Scale Fine-Grained Image Retrieval (ECCV 2020)",
    "phpq": "PHPQ: Pyramid Hybrid Pooling Quantization (2021); its table was not recovered: no number",
}

_SCALE = {"fraction": 1, "percent": 100}


def tables() -> pd.DataFrame:
    """Every published cell, one row each; ``score`` is ``value`` as a number in [0, 1] (NaN where hidden)."""
    frame = pd.concat([_read(name) for name in PAPERS], ignore_index=True)
    score = [_score(value, unit) for value, unit in zip(frame["value"], frame["unit"], strict=True)]
    return frame.assign(bits=frame["bits"].astype("int64"), score=score)


def nearest_neighbour_table() -> pd.DataFrame:
    """ExchNet's Table 1: approximate search on Food-101 (P@10 in percent, wall time, speed-up, memory)."""
    numbers = ["dimensions", "precision_at_10", "wall_time", "speed_up", "memory"]
    frame = _read("exchnet_ann")
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in numbers})


def _read(name: str) -> pd.DataFrame:
    with (files(__package__) / f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def _score(value: str, unit: str) -> float:
    # Decimal, so that 25.14 % is the float nearest to 0.2514.
    return float(Decimal(value) / _SCALE[unit]) if value else float("nan")
