"""Our rows and those of papers: same data set, same bits, with every known difference of protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fghash import published as papers_report
from fghash.report.grouping import LEADING, SECOND, leaderboard
from fghash.report.writers import require_known_suffix, write_table

FACTS = ("backbone", "gallery_codes", "selection", "subset", "metric")
ADDED = ("block", "source", "certainty", "subset", "metric", "differs")

_OURS = {"source": "this store", "certainty": "measured", "metric": "map", "differs": ""}


def beside_published(frame: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard ``frame`` with the published rows of the same data and bits below ours, block by block.

    A block is a data set (as fingerprinted), a code length and a protocol of ours; the added columns are
    ``ADDED``. ``differs`` of a published row lists the facts (``FACTS``) in which it differs from that row of
    ours which it differs from least: only a row without an entry there was measured as ours were.
    """
    papers = papers_report.tables()
    papers = papers[papers["metric"].str.startswith("map") | (papers["metric"] == "not stated")]
    papers = papers.drop_duplicates(["data", "bits", "subset", "method", "variant", "value"])
    rows = [row for block in _blocks(frame) for row in _with_papers(block, papers)]
    rest = [name for name in frame.columns if name not in (*LEADING, *SECOND)]
    columns = [*LEADING, *SECOND, *ADDED, *rest]
    kinds = {name: kind for name, kind in frame.dtypes.items() if name in columns}
    return pd.DataFrame(rows, columns=columns, dtype=object).astype(kinds)


def write_leaderboard(
    runs: Path, outs: Sequence[Path], protocol: str | None = None, *, published: bool = False
) -> pd.DataFrame:
    """Write the leaderboard of ``runs`` to every path of ``outs`` and return it.

    The suffix of a path (``.csv``, ``.md``, ``.tex``) is its format; ``published`` adds their rows.

    Raises:
        InputError: as :func:`leaderboard`, an unknown suffix, or a path that cannot be written.
    """
    for out in outs:
        require_known_suffix(out)
    frame = leaderboard(runs, protocol)
    frame = beside_published(frame) if published else frame
    for out in outs:
        write_table(frame, out)
    return frame


def subset_of(description: str) -> str:
    """The part of a data set's description that tells a subset from the whole, empty for the whole.

    >>> subset_of("50 of 200 classes, 1,500 train / 1,389 query"), subset_of("200 classes, 5,994 train")
    ('50 of 200 classes', '')
    """
    return ", ".join(re.findall(r"\d[\d,]* of \d[\d,]* \w+", description))


def _blocks(frame: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    keys = ["data", "data_fingerprint", "bits", "protocol"]
    for _, block in frame.groupby(keys, sort=True):
        rows: list[dict[Any, Any]] = block.astype(object).to_dict("records")
        yield [{**row, **_OURS, "subset": subset_of(row["data_description"])} for row in rows]


def _with_papers(ours: list[dict[str, Any]], papers: pd.DataFrame) -> list[dict[str, Any]]:
    data, bits, protocol = (ours[0][name] for name in ("data", "bits", "protocol"))
    subset = f" ({ours[0]['subset']})" if ours[0]["subset"] else ""
    block = f"{data}{subset}, {bits} bits, {protocol}"
    found = papers[(papers["data"] == data) & (papers["bits"] == bits)]
    found = found.sort_values(["score", "method", "source"], ascending=[False, True, True])
    theirs = [_published_row(row, ours) for row in found.to_dict("records")]
    return [{**row, "block": block} for row in (*ours, *theirs)]


def _published_row(row: Mapping[Any, Any], ours: list[dict[str, Any]]) -> dict[str, Any]:
    same = ("data", "method", "bits", "backbone", "gallery_codes", "variant", "selection", "subset", "metric")
    text = dict.fromkeys(("data_fingerprint", "data_description", "group", "preset"), "")
    return {
        **text, **{name: row[name] for name in same}, "map": row["score"], "protocol": "published",
        "source": row["source"], "certainty": row["certainty"], "differs": _differs(row, ours),
        "notes": row["note"],
    }  # fmt: skip


def _differs(row: Mapping[str, Any], ours: list[dict[str, Any]]) -> str:
    differences = [(_differences(row, mine), mine["method"] != row["method"]) for mine in ours]
    least, _ = min(differences, key=lambda entry: (len(entry[0]), entry[1]))
    return "; ".join(least)


def _differences(row: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    return [
        f"{fact}: {row[fact] or 'whole'} (ours {mine[fact] or 'whole'})"
        for fact in FACTS
        if _word(fact, row[fact]) != _word(fact, mine[fact])
    ]


def _word(fact: str, value: str) -> str:
    # timm's resnet50.tv_in1k is a resnet50: the part behind the dot names weights.
    return value.partition(".")[0] if fact == "backbone" else value
