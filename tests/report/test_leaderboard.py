from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fghash.errors import InputError
from fghash.report import leaderboard, print_table, to_csv, to_latex, to_markdown, write_leaderboard
from fghash.report.writers import write_table
from fghash.settings.identity import group_id, run_id
from fghash.store import SkippedRecord
from store_fixtures import make_record, store


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_ids_are_sixteen_digits_of_the_canonical_json_of_everything_that_counts() -> None:
    science = {"seed": 0, "bits": 32, "optim": {"milestones": (0.6, 0.85)}}
    text = '{"data":"fp","science":{"bits":32,"optim":{"milestones":[0.6,0.85]},"seed":0},"weights":"none"}'
    assert run_id(science, "fp", "none") == hashlib.sha256(text.encode()).hexdigest()[:16]
    others = [
        run_id({**science, "seed": 1}, "fp", "none"),
        run_id(science, "fp2", "none"),
        run_id(science, "fp", "w"),
    ]
    assert len({run_id(science, "fp", "none"), *others}) == 4


def test_group_id_forgets_the_seed_and_nothing_else() -> None:
    science = {"seed": 0, "bits": 32, "data": {"seed": 0}}
    assert group_id(science, "fp", "w") == group_id({**science, "seed": 7}, "fp", "w")
    assert group_id(science, "fp", "w") != group_id({**science, "data": {"seed": 7}}, "fp", "w")
    assert group_id(science, "fp", "w") != group_id(science, "fp2", "w")
    assert group_id(science, "fp", "w") != run_id(science, "fp", "w")


def test_a_setting_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        run_id({"x": object()}, "fp", "w")


def test_columns_begin_as_promised(tmp_path: Path) -> None:
    store(tmp_path, make_record(map_real=0.6, precision_at_10=0.1, precision_at_9=0.2, n_queries=3, bits=32))
    header = to_csv(leaderboard(tmp_path)).splitlines()[0].split(",")
    assert header == [
        "data", "method", "bits", "backbone", "gallery_codes", "seeds", "map", "map_std",
        "data_fingerprint", "trained_bits", "preset", "trials", "variant", "selection", "protocol",
        "epochs", "image_passes", "batch_size", "train_seconds", "stopped_by_time", "map_real",
        "map_real_std", "n_queries", "precision_at_9", "precision_at_10", "queries_in_gallery",
        "truncated_images", "notes", "data_description", "group",
    ]  # fmt: skip


def test_seeds_are_averaged_with_one_degree_of_freedom(tmp_path: Path) -> None:
    values = [0.1, 0.25, 0.6]
    store(tmp_path, *(make_record(seed=seed, map=value, n_queries=3) for seed, value in enumerate(values)))
    (row,) = cells(to_csv(leaderboard(tmp_path)))
    assert row["seeds"] == "3"
    assert float(row["map"]) == pytest.approx(statistics.mean(values), abs=1e-15)
    assert float(row["map_std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert row["n_queries"] == "3"


def test_one_run_has_no_standard_deviation(tmp_path: Path) -> None:
    store(tmp_path, make_record(map=0.3))
    (row,) = cells(to_csv(leaderboard(tmp_path)))
    assert (row["seeds"], row["map"], row["map_std"], row["map_real"]) == ("1", "0.3", "", "")


def test_protocols_galleries_lengths_data_and_variants_are_never_averaged(tmp_path: Path) -> None:
    store(
        tmp_path,
        make_record(map=0.1),
        make_record(map=0.2, protocol="fghash-1@5"),
        make_record(map=0.3, gallery_codes="learned"),
        make_record(map=0.4, bits=16),
        make_record(map=0.5, variant="method.alpha=0.1"),
    )
    assert sorted(leaderboard(tmp_path)["map"]) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert list(leaderboard(tmp_path)["seeds"]) == [1] * 5
    assert list(leaderboard(tmp_path, protocol="fghash-1@5")["map"]) == [0.2]


BUDGETS = [
    {"epochs": 2},
    {"image_passes": 10},
    {"batch_size": 8},
    {"stopped_by_time": True},
    {"preset": "faithful"},
    {"epochs": None},
]


@pytest.mark.parametrize("changes", BUDGETS, ids=lambda changes: next(iter(changes)))
def test_presets_and_budgets_are_never_averaged_and_their_columns_tell_them_apart(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = {
        "preset": "default", "epochs": 30, "image_passes": 900, "batch_size": 64, "stopped_by_time": False,
    }  # fmt: skip
    store(tmp_path, make_record(seed=0, **whole), make_record(seed=1, **{**whole, **changes}))
    frame = leaderboard(tmp_path)
    assert list(frame["seeds"]) == [1, 1]
    (name,) = changes
    first, second = cells(to_csv(frame))
    assert first[name] != second[name]


def test_the_seconds_of_training_are_averaged_over_the_seeds(tmp_path: Path) -> None:
    store(
        tmp_path, *(make_record(seed=seed, train_seconds=seconds) for seed, seconds in enumerate((1.0, 4.0)))
    )
    (row,) = cells(to_csv(leaderboard(tmp_path)))
    assert (row["seeds"], row["train_seconds"]) == ("2", "2.5")


def test_a_store_of_the_first_version_shows_with_what_its_configs_say(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).with_name("old_store"), tmp_path / "runs")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SkippedRecord)
        frame = leaderboard(tmp_path / "runs")
    assert list(zip(frame["method"], frame["bits"], frame["gallery_codes"], strict=True)) == [
        ("dpq", 8, "network"), ("dpq", 16, "network"), ("dpq", 24, "network"), ("adsh", 32, "network"),
        ("dpq", 32, "network"), ("adsh", 32, "learned"),
    ]  # fmt: skip
    assert set(frame["preset"]) == {"default"}
    assert set(frame["epochs"]) == {2}
    assert frame["image_passes"].isna().all()
    assert float(frame["map"][1]) == 0.056584486431552714
    assert all(text.endswith("trainer.max_epochs=2") for text in frame["variant"])


def test_the_variant_follows_the_stored_config_not_what_was_noted_then(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).with_name("old_store"), tmp_path / "runs")
    config = next((tmp_path / "runs").glob("*/dpq/*/*/config.yaml"))
    config.write_text(
        config.read_text().replace("max_epochs: 2", "max_epochs: 30").replace("mu: 1.0", "mu: 9.0")
    )
    frame = leaderboard(tmp_path / "runs")
    assert set(frame[frame["method"] == "dpq"]["variant"]) == {"method.mu=9.0"}


def test_a_count_that_one_row_lacks_stays_a_count_in_the_others(tmp_path: Path) -> None:
    store(tmp_path, make_record(method="a", n_queries=3), make_record(method="b"))
    assert [row["n_queries"] for row in cells(to_csv(leaderboard(tmp_path)))] == ["3", ""]


def test_a_run_in_two_folders_counts_once(tmp_path: Path) -> None:
    store(tmp_path, make_record(seed=0), make_record(seed=1))
    shutil.copytree(tmp_path / "synthetic", tmp_path / "backup of synthetic")
    with pytest.warns(SkippedRecord, match="second copy of run"):
        frame = leaderboard(tmp_path)
    assert list(frame["seeds"]) == [2]


def test_an_unknown_protocol_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    store(tmp_path, make_record())
    with pytest.raises(InputError, match="fghash-1@1,10,100"):
        leaderboard(tmp_path, protocol="fghash-2")


def test_rows_are_in_order_and_network_codes_before_learned(tmp_path: Path) -> None:
    store(
        tmp_path,
        make_record(method="a", map=0.1),
        make_record(method="b", map=0.9, gallery_codes="learned"),
        make_record(method="c", map=None),
        make_record(method="d", map=0.5),
        make_record(method="e", map=0.2, bits=16, trained_bits=16),
        make_record(method="f", map=0.2, data="cub200"),
    )
    assert list(leaderboard(tmp_path)["method"]) == ["f", "e", "d", "a", "c", "b"]


def test_a_score_that_one_seed_lacks_has_no_mean(tmp_path: Path) -> None:
    store(tmp_path, make_record(seed=0, map=0.5), make_record(seed=1, map=None))
    (row,) = cells(to_csv(leaderboard(tmp_path)))
    assert (row["seeds"], row["map"], row["map_std"]) == ("2", "", "")


def test_the_bytes_do_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    records = [
        make_record(seed=seed, method=method, map=0.1 * seed + 0.3) for seed in range(3) for method in "ab"
    ]
    store(tmp_path / "one", *records)
    store(tmp_path / "two", *reversed(records))
    assert to_csv(leaderboard(tmp_path / "one")) == to_csv(leaderboard(tmp_path / "two"))


def test_an_empty_store_gives_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    frame = leaderboard(tmp_path)
    assert frame.empty
    assert to_csv(frame).startswith(
        "data,method,bits,backbone,gallery_codes,seeds,map,map_std,data_fingerprint,"
    )
    assert "| data | method |" in to_markdown(frame)


def test_a_killed_run_and_strange_files_do_not_show(tmp_path: Path) -> None:
    store(tmp_path, make_record())
    killed = tmp_path / "synthetic" / "hashnet" / "32" / "killed"
    (killed / "records").mkdir(parents=True)
    (killed / "records" / "32-network-x.json").write_text(make_record(seed=9).to_json())
    (tmp_path / "leaderboard.csv").write_text("not,a,run\n")
    assert list(leaderboard(tmp_path)["seeds"]) == [1]


def test_every_format_is_written_and_others_are_refused(tmp_path: Path) -> None:
    store(tmp_path / "runs", make_record(method="a_b", map=0.123456, notes="50 % & more", variant="x|y"))
    outs = [tmp_path / f"table.{suffix}" for suffix in ("csv", "md", "tex")]
    frame = write_leaderboard(tmp_path / "runs", outs)
    texts = [out.read_text() for out in outs]
    assert texts == [to_csv(frame), to_markdown(frame), to_latex(frame)]
    assert r"x\|y" in texts[1]
    assert "| 0.1235 |" in texts[1]
    assert r"a\_b & 32 & resnet18 & network & 1 & 0.1235" in texts[2]
    assert r"50 \% \& more \\" in texts[2]
    with pytest.raises(InputError, match=r"unknown suffix of .*table\.html"):
        write_table(frame, tmp_path / "table.html")


def test_readable_tables_keep_protocols_apart(tmp_path: Path) -> None:
    store(tmp_path, make_record(), make_record(protocol="fghash-1@5"))
    assert to_markdown(leaderboard(tmp_path)).count("| data |") == 2
    assert to_latex(leaderboard(tmp_path)).count(r"\begin{tabular}") == 2


def test_the_printed_table_shows_the_scores_and_takes_no_markup(tmp_path: Path) -> None:
    store(tmp_path, make_record(map=0.4321, variant="[bold]x[/bold]"))
    console = Console(width=80, record=True, file=io.StringIO())
    print_table(leaderboard(tmp_path), console)
    text = console.export_text()
    assert "0.4321" in text
    assert "this row: selection=last [bold]x[/bold]" in text
    assert "fghash-1@1,10,100" in text


def test_an_empty_table_prints_one_line(tmp_path: Path) -> None:
    console = Console(record=True, file=io.StringIO())
    print_table(leaderboard(tmp_path), console)
    assert console.export_text() == "no finished run\n"


def test_neither_torch_nor_lightning_is_imported() -> None:
    code = "import sys, json, fghash.report; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"torch", "lightning", "pytorch_lightning", "timm"}
