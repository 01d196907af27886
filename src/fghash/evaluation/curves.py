"""Curves of a run from its tie groups: precision and recall at N and within a radius, as CSV and plots."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fghash.errors import InputError
from fghash.evaluation.metrics import hits_at
from fghash.evaluation.ranking import TieGroups
from fghash.files import cannot_write, replacing

FORMATS = ("png", "svg")
_POINTS = 60
Curve = dict[str, np.ndarray]


def ranks_curve(groups: TieGroups) -> Curve:
    """Mean expected ``precision`` and ``recall`` among the first ``n`` items, n evenly spaced by ratio."""
    counted, total = groups.n_relevant > 0, groups.n_relevant
    n = np.unique(np.geomspace(1, groups.n_gallery, _POINTS).round().astype(np.int64))
    hits = [hits_at(groups, int(k))[counted] for k in n]
    precision = np.array([found.mean() / k for found, k in zip(hits, n, strict=True)])
    recall = np.array([(found / total[counted]).mean() for found in hits])
    return {"n": n, "precision": precision, "recall": recall}


def radius_curve(groups: TieGroups) -> Curve:
    """Mean ``precision`` and ``recall`` within each Hamming ``radius`` 0 to bits; nothing within counts 0.

    Each query's values are steps over the radius: their jumps are summed by distance, then accumulated.
    """
    assert groups.distance is not None
    counted = groups.where((groups.n_relevant > 0)[groups.query])
    n_queries = int((groups.n_relevant > 0).sum())
    found = counted.nearer.astype(np.float64) + counted.size
    hits = counted.relevant_nearer + counted.relevant
    precision = hits / found
    first = np.diff(counted.query, prepend=-1) > 0
    jump = np.where(first, precision, np.diff(precision, prepend=0.0))
    gain = counted.relevant / counted.n_relevant[counted.query]
    means = [np.cumsum(_by_distance(counted, part)) / n_queries for part in (jump, gain)]
    return {"radius": np.arange(groups.bits + 1), "precision": means[0], "recall": means[1]}


def _by_distance(groups: TieGroups, values: np.ndarray) -> np.ndarray:
    return np.bincount(np.asarray(groups.distance), weights=values, minlength=groups.bits + 1)


def write_curves(groups: TieGroups, folder: str | Path, *, plots: Sequence[str] = ("png",)) -> list[Path]:
    """Write ``precision_at_n.csv`` and, for binary codes, ``radius.csv``, with plots in each of the formats.

    Plots: ``precision_at_n``, ``precision_recall_at_n``; for binary codes ``precision_within_radius`` and
    ``precision_recall_by_radius``.

    Raises:
        InputError: an unknown format, a folder that cannot be written, or no query with a relevant item.
    """
    for name in plots:
        if name not in FORMATS:
            raise InputError(f"plots: '{name}', expected {' or '.join(FORMATS)}")
    if not (groups.n_relevant > 0).any():
        raise InputError("curves: no query has a relevant item, nothing to draw")
    folder = _made(Path(folder))
    at_n = ranks_curve(groups)
    written = [_write_csv(folder / "precision_at_n.csv", at_n)]
    written += _draw(folder / "precision_at_n", at_n, "n", "precision", plots)
    written += _draw(folder / "precision_recall_at_n", at_n, "recall", "precision", plots)
    if groups.distance is not None:
        within = radius_curve(groups)
        written += [_write_csv(folder / "radius.csv", within)]
        written += _draw(folder / "precision_within_radius", within, "radius", "precision", plots)
        written += _draw(folder / "precision_recall_by_radius", within, "recall", "precision", plots)
    return written


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, "--curves", error) from error
    return folder


def _write_csv(path: Path, curve: Curve) -> Path:
    rows: Iterable[Any] = zip(*(values.tolist() for values in curve.values()), strict=True)
    with replacing(path, "--curves") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([list(curve), *rows])
    return path


def _draw(stem: Path, curve: Curve, x: str, y: str, formats: Sequence[str]) -> list[Path]:
    if not formats:
        return []
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve[x], curve[y], marker=".", linewidth=1)
    axes.set(xlabel=x, ylabel=y, ylim=(0, 1.02), xscale="log" if x == "n" else "linear")
    axes.grid(alpha=0.3)
    paths = [stem.with_suffix(f".{name}") for name in formats]
    for path, name in zip(paths, formats, strict=True):
        with replacing(path, "--curves") as temporary, rc_context({"svg.hashsalt": stem.name}):
            figure.savefig(
                temporary, format=name, dpi=120, metadata={"Date": None} if name == "svg" else None
            )
    return paths
