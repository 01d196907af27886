"""Everything that the page shows, as plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fghash.display import harmless
from fghash.errors import InputError
from fghash.evaluation.curves import radius_curve, ranks_curve
from fghash.evaluation.group_scores import scores_by_query
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.report.cells import is_missing
from fghash.report.page.classes import by_class, confused_pairs
from fghash.report.page.gallery import Read, Thumbnails, chosen_queries, results
from fghash.report.page.health import code_health
from fghash.report.significance import RankedRows
from fghash.store import RunFolder

_ROWS_SHOWN = 6  # side by side in a gallery
_GALLERIES = 3
SHOWN = (
    "rank", "method", "bits", "map", "map_std", "map_low", "map_high", "seeds", "data", "backbone",
    "gallery_codes", "variant", "preset", "trials", "image_passes", "epochs", "train_seconds",
    "bytes_per_item", "codebook_bytes", "search_ms_per_query", "encode_images_per_second",
    "parameters_trained", "peak_memory_mb", "precision_at_10", "map_real", "notes",
)  # fmt: skip
VIEW = ("data", "backbone", "gallery_codes", "image_passes", "protocol")


@dataclass(frozen=True)
class Sources:
    """Where the page gets what the store does not hold.

    Args:
        images: a reader of a run's images, ``None`` where its data are not there.
        class_names: of a run's classes.
        say: is told in a line what is being done.
    """

    images: Callable[[Path], Read | None]
    class_names: Callable[[Path], Sequence[str]]
    say: Callable[[str], None]


def contents(runs: Path, tested: RankedRows, sources: Sources) -> dict[str, Any]:
    """Rows, curves, classes, code health and galleries, keyed by row (``r0``, ``r1``, ...)."""
    page: dict[str, Any] = {"rows": [], "curves": {}, "classes": {}, "health": {}, "names": {}, "budgets": {}}
    several = _several_variants(tested)
    for i, row in enumerate(tested.rows):
        name, member = f"r{i}", row.members[0]
        folder = RunFolder(runs / member.path)
        page["rows"].append({"id": name, **_shown(row.values, several), "run": harmless(member.path)})
        if points := folder.read_budgets():
            page["budgets"][name] = points
        precision = tested.precisions[i]
        if precision is not None:
            page["curves"][name] = _curves(folder, member.record.bits, member.record.gallery_codes)
        sources.say(f"codes of row {i + 1} of {len(tested.rows)}")
        _of_codes(page, name, folder, row, precision)
        data = row.values["data_fingerprint"]
        if data not in page["names"]:
            page["names"][data] = [harmless(each) for each in sources.class_names(runs / member.path)]
    page["galleries"], page["images"] = _galleries(runs, tested, sources)
    return page


def _shown(values: Mapping[str, Any], several: set[tuple[Any, ...]]) -> dict[str, Any]:
    row = {name: _plain(values.get(name)) for name in SHOWN}
    view = " · ".join(str(row.get(name) or values.get(name) or "-") for name in VIEW[:3])
    passes = values.get("image_passes")
    row["view"] = f"{view} · {passes:,} image passes" if passes is not None else view
    row["fingerprint"] = str(values["data_fingerprint"])
    told = f" {values['variant']}" if _line_of(values) in several and values["variant"] else ""
    row["preset"] = "/".join(str(row["preset"] or "").split("/")[-2:])  # of a file its name and folder
    row["label"] = harmless(f"{values['method']}{told}")
    return row


def _line_of(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return (values["method"], values["bits"], *(values[name] for name in VIEW))


def _several_variants(tested: RankedRows) -> set[tuple[Any, ...]]:
    """What needs its variant in its label: methods that have several rows of one kind."""
    counts: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in tested.rows:
        counts[_line_of(row.values)] += 1
    return {line for line, count in counts.items() if count > 1}


def _plain(value: Any) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, str):
        return harmless(value)
    return round(value, 6) if isinstance(value, float) else value


def _curves(folder: RunFolder, bits: int, kind: str) -> dict[str, list[float]]:
    groups = folder.read_groups(bits, kind)
    assert groups is not None
    curve = ranks_curve(groups)
    found = {"n": curve["n"], "precision": curve["precision"], "recall": curve["recall"]}
    if groups.distance is not None:
        within = radius_curve(groups)
        near = within["radius"] <= max(8, groups.bits // 4)
        found |= {"radius": within["radius"][near], "within": within["precision"][near]}
    return {name: np.round(values, 4).tolist() for name, values in found.items()}


def _of_codes(
    page: dict[str, Any], name: str, folder: RunFolder, row: Any, precision: np.ndarray | None
) -> None:
    """Code health and classes of a row, where its codes are stored and items have one label each."""
    record = row.members[0].record
    try:
        gallery, labels = folder.read_codes(record.bits, record.gallery_codes, "gallery")
        queries, query_labels = folder.read_codes(record.bits, record.gallery_codes, "queries")
    except InputError:
        return
    page["health"][name] = code_health(gallery, labels)
    if labels.ndim != 1 or precision is None:
        return
    counted = np.isin(query_labels, labels)
    if len(precision) == int(counted.sum()):
        page["classes"][name] = {
            "map": by_class(precision, query_labels[counted]),
            "confused": confused_pairs(queries, gallery, query_labels, labels),
        }


def _galleries(
    runs: Path, tested: RankedRows, sources: Sources
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A gallery for each of the first few data sets, at one code length, the best rows side by side."""
    galleries, images = [], dict[str, str]()
    by_data: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(tested.rows):
        if row.values["gallery_codes"] == "network" and tested.precisions[i] is not None:
            by_data[row.values["data_fingerprint"], row.values["protocol"]].append(i)
    for number, rows in enumerate(list(by_data.values())[:_GALLERIES]):
        read = sources.images(runs / tested.rows[rows[0]].members[0].path)
        if read is None:
            continue
        sources.say("retrieval galleries")
        pictures = Thumbnails(read)
        gallery = _gallery(runs, tested, _best(tested, rows), pictures)
        if gallery is not None:
            galleries.append({**gallery, "set": f"g{number}"})
            images |= {f"g{number}{key}": url for key, url in pictures.urls.items()}
    return galleries, images


def _best(tested: RankedRows, rows: Sequence[int]) -> list[int]:
    """The best row of each method at the most common code length, best first."""
    lengths = [tested.rows[i].values["bits"] for i in rows]
    bits = max(sorted(set(lengths)), key=lambda each: (lengths.count(each), each))
    alike = [i for i in rows if tested.rows[i].values["bits"] == bits]
    ordered = sorted(alike, key=lambda i: -(tested.rows[i].values["map"] or 0))
    first = {tested.rows[i].values["method"]: i for i in reversed(ordered)}
    return sorted(first.values(), key=ordered.index)[:_ROWS_SHOWN]


def _gallery(
    runs: Path, tested: RankedRows, rows: Sequence[int], pictures: Thumbnails
) -> dict[str, Any] | None:
    codes, labels, precisions = {}, None, []
    for i in rows:
        member = tested.rows[i].members[0]
        folder, record = RunFolder(runs / member.path), member.record
        try:
            gallery, of_gallery = folder.read_codes(record.bits, record.gallery_codes, "gallery")
            queries, of_queries = folder.read_codes(record.bits, record.gallery_codes, "queries")
            groups = folder.read_groups(record.bits, record.gallery_codes)
        except InputError:
            continue
        if groups is not None and of_gallery.ndim == 1:
            codes[f"r{i}"], labels = (queries, gallery), (of_queries, of_gallery)
            precisions.append(scores_by_query(groups, RetrievalProtocol())["map"])
    if labels is None:
        return None
    first = tested.rows[rows[0]].values
    chosen = chosen_queries(np.nan_to_num(np.mean(precisions, axis=0)))
    return {
        "title": harmless(f"{first['data']}, {first['bits']} bits"),
        "fingerprint": str(first["data_fingerprint"]),
        "queries": results(chosen, codes, labels, pictures),
    }
