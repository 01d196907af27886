"""What stays of the measurements: rows as they come, a table, a plot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from fghash.ann.bed import Bed
from fghash.ann.measure import Row
from fghash.files import replacing

ROWS, TABLE, MARKDOWN, PLOT = "rows.jsonl", "ann.csv", "ann.md", "ann.png"


def bed_key(bed: Bed, seconds: float) -> str:
    """Names what was measured: rows of another bed do not count as known."""
    digest = hashlib.sha256(str((bed.real.shape, len(bed.real_queries), type(bed.codes).__name__)).encode())
    for array in (bed.real[:1000], bed.real[-1:], bed.real_queries, bed.codes.take(slice(0, 1000))):
        digest.update(array.tobytes() if hasattr(array, "tobytes") else repr(vars(array)).encode())
    digest.update(str((bed.codes.bits_per_item, seconds)).encode())
    return digest.hexdigest()[:16]


def known_rows(folder: Path, key: str) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Rows that an earlier call with this key measured; a half-written line is none."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    path = folder / ROWS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            content = json.loads(line)
            row = Row(**content["row"])
        except (ValueError, TypeError, KeyError):
            continue
        if content.get("key") == key:
            found[row.index, row.setting] = content["row"]
    return found


def append(folder: Path, key: str, row: Row) -> None:
    """Keep a row."""
    with (folder / ROWS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "row": asdict(row)}) + "\n")


def write_outputs(folder: Path, rows: Iterable[Row], title: str) -> list[Path]:
    """The table as CSV and Markdown, and recall against speed as a plot."""
    frame = pd.DataFrame([asdict(row) for row in rows])
    paths = [folder / name for name in (TABLE, MARKDOWN, PLOT)]
    with replacing(paths[0], "--out") as temporary:
        frame.to_csv(temporary, index=False)
    with replacing(paths[1], "--out") as temporary:
        temporary.write_text(f"{title}\n\n{_markdown(frame)}", encoding="utf-8")
    with replacing(paths[2], "--out") as temporary:
        _plot(frame, title, temporary)
    return paths


def _markdown(frame: pd.DataFrame) -> str:
    lines = [list(frame.columns), ["---"] * frame.shape[1], *frame.astype(str).to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plot(frame: pd.DataFrame, title: str, path: Path) -> None:
    """Recall against queries a second, a line for each index."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    left = figure.subplots()
    colours, markers = colormaps["tab20"], "os^Dv<>pPX*hd"
    for place, (name, rows) in enumerate(frame.groupby("index", sort=False)):
        rows = rows.sort_values("recall_at_10")
        left.plot(
            rows["recall_at_10"], rows["queries_per_second"], label=str(name), linewidth=1.2, markersize=6,
            color=colours(place % 20), marker=markers[place % len(markers)],
        )  # fmt: skip
    left.set_yscale("log")
    left.set_xlabel("recall@10 against the exact neighbours")
    left.set_ylabel("queries a second, one at a time, one thread")
    left.set_title(title, fontsize=10)
    left.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, format="png", dpi=130)
