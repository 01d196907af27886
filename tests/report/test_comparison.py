from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from fghash.errors import InputError
from fghash.report import beside_published, leaderboard, print_table, to_csv, to_markdown, write_leaderboard
from store_fixtures import make_record, store

WHOLE = "200 classes, 5,994 train / 5,794 query"
SUBSET = "50 of 200 classes, 1,500 train / 1,389 query"


def compared(runs: Path, **fields: Any) -> pd.DataFrame:
    store(runs, make_record(**{"data": "cub200", "data_description": WHOLE, **fields}))
    return beside_published(leaderboard(runs))


def test_published_rows_of_the_same_data_and_bits_follow_ours(tmp_path: Path) -> None:
    frame = compared(tmp_path, map=0.3)
    assert list(frame.columns[:8]) == list(leaderboard(tmp_path).columns[:8])
    assert set(frame["data"]) == {"cub200"}
    assert set(frame["bits"]) == {32}
    assert frame.iloc[0]["source"] == "this store"
    exchnet = frame[(frame["source"] == "ExchNet (ECCV 2020), Table 2") & (frame["method"] == "exchnet")]
    assert exchnet["map"].tolist() == [0.6774]
    assert frame[frame["method"] == "fph"]["map"].tolist() == [0.5832]


def test_a_row_that_figures_and_tables_both_give_is_there_once(tmp_path: Path) -> None:
    frame = compared(tmp_path)
    assert len(frame[(frame["method"] == "adsh") & (frame["map"] == 0.6168)]) == 1


def test_differences_of_protocol_are_marked(tmp_path: Path) -> None:
    frame = compared(tmp_path, backbone="mobilenetv2_100", data_description=SUBSET)
    exchnet = frame[frame["source"] == "ExchNet (ECCV 2020), Table 2"].set_index("method").loc["exchnet"]
    assert exchnet["differs"] == (
        "backbone: resnet50 (ours mobilenetv2_100); gallery_codes: learned (ours network); "
        "selection: not stated (ours last); subset: whole (ours 50 of 200 classes)"
    )
    assert frame.iloc[0]["differs"] == ""
    assert frame.iloc[0]["subset"] == "50 of 200 classes"


def test_the_nearest_of_our_rows_is_what_a_published_row_is_compared_with(tmp_path: Path) -> None:
    compared(tmp_path, method="hashnet", backbone="resnet18")
    frame = compared(tmp_path, method="adsh", backbone="resnet50.tv_in1k", gallery_codes="learned")
    adsh = frame[frame["source"] == "ExchNet (ECCV 2020), Table 2"].set_index("method").loc["adsh"]
    assert adsh["differs"] == "selection: not stated (ours last)"


def test_a_subset_of_theirs_is_marked_too(tmp_path: Path) -> None:
    frame = compared(tmp_path)
    rows = frame[frame["source"] == "aassxun/DSH_Analysis"]
    assert rows["differs"].str.contains("subset: first 95 % of the classes (ours whole)", regex=False).all()
    assert rows["differs"].str.contains("selection: test (ours last)", regex=False).all()


def test_data_that_no_paper_has_stands_alone(tmp_path: Path) -> None:
    store(tmp_path, make_record())
    assert list(beside_published(leaderboard(tmp_path))["source"]) == ["this store"]


def test_an_empty_store_stays_empty(tmp_path: Path) -> None:
    frame = beside_published(leaderboard(tmp_path))
    assert frame.empty
    assert "differs" in frame


def test_blocks_are_read_one_by_one(tmp_path: Path) -> None:
    compared(tmp_path, bits=32)
    text = to_markdown(compared(tmp_path, bits=12, trained_bits=12, data_description=SUBSET))
    assert "cub200 (50 of 200 classes), 12 bits, fghash-1@1,10,100" in text
    assert "cub200, 32 bits, fghash-1@1,10,100" in text
    assert text.count("| data |") == 2


def test_the_terminal_shows_which_facts_differ(tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    print_table(compared(tmp_path, backbone="mobilenetv2_100", data_description=SUBSET), console)
    text = console.export_text()
    (line,) = [line for line in text.splitlines() if "0.6774" in line]
    assert line.rstrip().endswith("backbone, gallery_codes, selection, subset")
    assert re.search(r"^\d+: ExchNet \(ECCV 2020\), Table 2$", text, flags=re.MULTILINE)


def test_it_is_written_with_the_same_function(tmp_path: Path) -> None:
    frame = compared(tmp_path / "runs")
    out = tmp_path / "table.csv"
    write_leaderboard(tmp_path / "runs", [out], published=True)
    assert out.read_text() == to_csv(frame)
    with pytest.raises(InputError, match="unknown suffix"):
        write_leaderboard(tmp_path / "runs", [out.with_suffix(".doc")])
