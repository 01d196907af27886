"""Tables as files and in a terminal: what they show, what they leave out, and that no text can break them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fghash.display import harmless
from fghash.report import beside_published, leaderboard, print_table, to_csv, to_latex, to_markdown
from fghash.report.writers import write_table
from store_fixtures import make_record, store

LONG = "backbone.options.pad_type=same data.image_size=96"


def two_rows(runs: Path, first: dict[str, Any], second: dict[str, Any]) -> pd.DataFrame:
    store(runs, make_record(method="hashnet", map=0.3, **first), make_record(method="dpq", map=0.4, **second))
    return leaderboard(runs)


def printed(frame: pd.DataFrame, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_table(frame, console)
    return console.export_text()


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("write", [to_markdown, to_latex, printed])
def test_settings_that_all_rows_share_stand_once_above_the_table(tmp_path: Path, write: Any) -> None:
    frame = two_rows(tmp_path, {"variant": f"{LONG} method.alpha=3"}, {"variant": f"{LONG} optim.lr=0.1"})
    text = write(frame).replace(r"\_", "_")
    assert text.count("data.image_size=96") == 1
    assert text.count("backbone.options.pad_type=same") == 1
    assert text.index("data.image_size=96") < text.index("gallery_codes")
    assert "method.alpha=3" in text
    assert "optim.lr=0.1" in text


def test_only_whole_settings_are_shared(tmp_path: Path) -> None:
    frame = two_rows(tmp_path, {"variant": "optim.lr=0.1"}, {"variant": "optim.lr=0.10"})
    text = to_markdown(frame)
    assert "| optim.lr=0.1 |" in text
    assert "| optim.lr=0.10 |" in text


@pytest.mark.parametrize("write", [to_markdown, to_latex, printed])
def test_budgets_have_columns_where_they_differ_and_a_word_above_where_not(
    tmp_path: Path, write: Any
) -> None:
    same = {"epochs": 30, "image_passes": 900, "batch_size": 64, "preset": "default"}
    text = write(two_rows(tmp_path / "same", same, same)).replace(r"\_", "_")
    assert "all rows: preset=default epochs=30 image_passes=900 batch_size=64" in text
    assert not re.search(r"map.* epochs", text)
    other = {**same, "epochs": 60, "image_passes": 1800}
    text = write(two_rows(tmp_path / "other", same, other)).replace(r"\_", "_")
    assert re.search(r"map.* epochs .*image_passes", text)
    assert "all rows: preset=default batch_size=64" in text


def test_a_run_that_was_stopped_by_time_is_marked(tmp_path: Path) -> None:
    frame = two_rows(tmp_path, {"stopped_by_time": True}, {"stopped_by_time": False})
    assert "| stopped_by_time |" in to_markdown(frame)
    assert "stopped_by_time" not in to_markdown(frame[frame["method"] == "dpq"])
    assert [row["stopped_by_time"] for row in read_csv(to_csv(frame))] == ["False", "True"]


def test_problems_of_the_data_are_shown_where_there_are_any(tmp_path: Path) -> None:
    frame = two_rows(tmp_path, {"queries_in_gallery": 3, "truncated_images": 0}, {"queries_in_gallery": 0})
    assert "| queries_in_gallery |" in to_markdown(frame)
    assert "truncated_images" not in to_markdown(frame)
    assert [row["queries_in_gallery"] for row in read_csv(to_csv(frame))] == ["0", "3"]


def test_published_rows_do_not_decide_what_ours_share(tmp_path: Path) -> None:
    fields = {"data": "cub200", "variant": LONG, "epochs": 30, "preset": "default"}
    text = to_markdown(beside_published(two_rows(tmp_path, fields, fields)))
    assert f"all rows of this store: preset=default epochs=30 selection=last {LONG}" in text
    assert "| epochs |" not in text


@pytest.mark.parametrize("width", [*range(10, 130, 7), 80])
def test_no_cell_of_a_terminal_table_is_broken_and_what_is_left_out_is_said(
    tmp_path: Path, width: int
) -> None:
    notes = "a reconstruction of which little is known and much has been guessed"
    first = {
        "backbone": "mobilenetv2_100",
        "epochs": 20,
        "image_passes": 15_000,
        "map_real": 0.5,
        "notes": notes,
    }
    second = {**first, "gallery_codes": "learned", "epochs": 10, "image_passes": 7_500, "variant": "a=b"}
    frame = two_rows(tmp_path, first, second)
    text = printed(frame, width)
    lines = text.splitlines()
    head = next(position for position, line in enumerate(lines) if line.startswith(("method", "data ")))
    names = lines[head].split()
    assert all(len(line) <= max(width, 20) or " " not in line for line in lines)
    assert set(names) <= set(frame.columns) or width < 20
    if width >= 20:
        assert [line.split()[names.index("map")] for line in lines[head + 2 : head + 4]] == [
            "0.3000",
            "0.4000",
        ]
    said = text.partition("left out")[2]
    for name in ("data", "bits", "backbone", "gallery_codes", "map_real", "epochs", "image_passes", "notes"):
        assert name in names or name in said or f"{name}=" in text
    if width >= 80:
        assert {"epochs", "image_passes", "map", "method"} <= set(names)


def test_a_name_wider_than_the_terminal_ends_in_dots(tmp_path: Path) -> None:
    store(tmp_path, make_record(method="m" * 200))
    lines = printed(leaderboard(tmp_path), 40).splitlines()
    assert any(line.endswith("...") for line in lines)
    assert all(len(line) <= 40 for line in lines)


def test_wide_letters_keep_the_columns_in_line(tmp_path: Path) -> None:
    store(tmp_path, make_record(data="鳥", map=0.3), make_record(data="a", map=0.4))
    rows = [line for line in printed(leaderboard(tmp_path)).splitlines() if "hashnet" in line]
    assert rows == [
        "a    hashnet   32 resnet18 network           1 0.4000",
        "鳥   hashnet   32 resnet18 network           1 0.3000",
    ]


def test_a_terminal_that_knows_ascii_only_gets_escapes(tmp_path: Path) -> None:
    store(tmp_path, make_record(data="鳥"))
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_table(leaderboard(tmp_path), Console(file=raw, width=80))
    raw.flush()
    assert rb"\u9ce5" in raw.buffer.getvalue()  # type: ignore[attr-defined]


STRANGE = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "a|b",
    "<b>",
    "\x1b[2J",
    "a\nb",
    "\u202eabc",
    "\ud800",
    "\0",
    "50 % & $x_{}^~\\",
]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_is_harmless_in_every_format(tmp_path: Path, text: str) -> None:
    texts = {"data": f"folder:{text}", "notes": text, "variant": text, "backbone": text}
    store(tmp_path / "runs", replace(make_record(), **texts))
    frame = leaderboard(tmp_path / "runs")
    for suffix in ("csv", "md", "tex"):
        write_table(frame, tmp_path / f"table.{suffix}")
    (row,) = read_csv((tmp_path / "table.csv").read_text(encoding="utf-8"))
    assert not row["notes"].startswith(("=", "+", "-", "@"))
    assert row["notes"].removeprefix("'") == row["backbone"].removeprefix("'") == harmless(text)
    assert row["data"] == f"folder:{harmless(text)}"
    markdown = (tmp_path / "table.md").read_text(encoding="utf-8")
    table = [re.split(r"(?<!\\)\|", line) for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(cells) for cells in table}) == 1
    assert len(table) == 3
    for shown in (markdown, (tmp_path / "table.tex").read_text(encoding="utf-8"), printed(frame)):
        assert all(line.isprintable() for line in shown.splitlines())
        assert "<b>" not in markdown


def test_numbers_below_zero_are_no_formulas_and_keep_every_digit(tmp_path: Path) -> None:
    values = [*np.random.default_rng(0).normal(size=50).tolist(), 1 / 3, 1e-300, 5e-324, 123456789.12345679]
    store(
        tmp_path, *(make_record(seed=seed, method=f"m{seed}", map=each) for seed, each in enumerate(values))
    )
    rows = read_csv(to_csv(leaderboard(tmp_path)))
    assert sorted(float(row["map"]) for row in rows) == sorted(values)


def test_large_whole_numbers_keep_every_digit(tmp_path: Path) -> None:
    store(tmp_path, make_record(n_gallery=2**62 + 1))
    (row,) = read_csv(to_csv(leaderboard(tmp_path)))
    assert row["n_gallery"] == str(2**62 + 1)


def test_latex_sets_the_best_of_comparable_rows_in_bold(tmp_path: Path) -> None:
    store(
        tmp_path,
        make_record(method="a", map=0.1),
        make_record(method="b", map=0.2),
        make_record(method="c", map=0.9, epochs=99),
        make_record(method="d", map=None),
        make_record(method="e", map=0.95, gallery_codes="learned"),
        make_record(method="f", map=0.85, gallery_codes="learned"),
    )
    assert re.findall(r"& (\w) &.*textbf\{(.*?)\}", to_latex(leaderboard(tmp_path))) == [
        ("b", "0.2000"), ("e", "0.9500"),
    ]  # fmt: skip


def test_latex_tables_are_booktabs_with_one_column_for_each_letter(tmp_path: Path) -> None:
    text = to_latex(two_rows(tmp_path, {"epochs": 3, "variant": "a_b=1"}, {"epochs": 5}))
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(row.split(" & ")) for row in rows] == [len(columns)] * 3
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_a_set_of_ones_own_is_a_block_of_its_own(tmp_path: Path) -> None:
    store(tmp_path, make_record(data="folder:cars"), make_record(data="folder:birds"))
    assert list(leaderboard(tmp_path)["data"]) == ["folder:birds", "folder:cars"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "folder_birds",
        "folder_cars",
    ]
    assert list(beside_published(leaderboard(tmp_path))["block"]) == [
        "folder:birds, 32 bits, fghash-1@1,10,100", "folder:cars, 32 bits, fghash-1@1,10,100",
    ]  # fmt: skip
