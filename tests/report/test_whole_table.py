"""A whole table compared: Holm, average ranks, critical difference against loops and printed tables."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from coded_runs import with_codes
from fghash.cli import main
from fghash.report.grouping import Row
from fghash.report.significance import RankedRows, ranked_rows
from fghash.report.whole_table import (
    AverageRanks,
    average_ranks,
    critical_difference,
    groups_of_equals,
    holm,
    pairs,
)


def table_of(blocks):
    """Rows of several blocks; ``blocks``: a list of {method: precisions}."""
    rows, precisions = [], []
    for i, block in enumerate(blocks):
        for method, values in block.items():
            common = {
                "data": f"set{i}", "data_fingerprint": "f", "bits": 32, "protocol": "p", "variant": "",
                "gallery_codes": "network", "epochs": 1, "image_passes": 1, "batch_size": 1,
                "stopped_by_time": False, "backbone": "b", "method": method,
            }  # fmt: skip
            rows.append(Row(common, []))
            precisions.append(np.asarray(values, float))
    return RankedRows(rows, precisions)


def test_holm_against_its_definition():
    random = np.random.default_rng(0)
    for _ in range(20):
        p_values = random.random(7).tolist()
        ordered = sorted(p_values)
        for value, corrected in zip(p_values, holm(p_values), strict=True):
            place = ordered.index(value)
            wanted = max(min(1.0, ordered[i] * (7 - i)) for i in range(place + 1))
            assert corrected == pytest.approx(wanted)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_printed_table(k, q):
    """The q of Demsar 2006, table 5 (a)."""
    found = critical_difference(k, 14)
    assert found == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), rel=1e-3)


def test_average_ranks_count_ties_by_halves_and_use_shared_methods_alone():
    found = average_ranks(
        table_of([
            {"a": [0.9, 0.7], "b": [0.5, 0.5], "c": [0.4, 0.2], "extra": [1, 1]},
            {"x": [0.9, 0.7], "b": [0.5, 0.5]},
            {"a": [0.3, 0.3], "b": [0.3, 0.3], "c": [0.1, 0.1]},
            {"a": [0.5, 0.5], "b": [0.6, 0.8], "c": [0.1, 0.3]},
        ])
    )  # fmt: skip
    assert found.ranks == pytest.approx({"a": (1 + 1.5 + 2) / 3, "b": (2 + 1.5 + 1) / 3, "c": 3.0})
    assert found.n_blocks == 3
    table = [[0.8, 0.3, 0.5], [0.5, 0.3, 0.7], [0.3, 0.1, 0.2]]
    assert found.p_value == pytest.approx(friedmanchisquare(*table).pvalue)


def test_nothing_to_rank():
    assert average_ranks(table_of([])).ranks == {}
    assert average_ranks(table_of([{"a": [0.5]}])).ranks == {}
    alone = average_ranks(table_of([{"a": [0.5], "b": [0.4]}]))
    assert (alone.ranks, alone.critical, alone.p_value) == ({"a": 1.0, "b": 2.0}, None, None)


def test_groups_that_the_critical_difference_does_not_separate():
    found = AverageRanks({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.7}, 9, 1.0, 0.01)
    assert groups_of_equals(found) == [["a", "b"], ["b", "c"]]


def test_pairs_stay_within_their_block():
    random = np.random.default_rng(1)
    base = random.random(200)
    found = pairs(
        table_of([
            {"a": base, "b": base + 0.1 * random.random(200), "c": base + 0.001 * random.normal(size=200)},
            {"a": base, "b": base},
        ])
    )  # fmt: skip
    assert len(found) == len(list(combinations("abc", 2))) + 1
    by_name = {(pair.block[:4], pair.a, pair.b): pair for pair in found}
    better = by_name["set0", "a", "b"]
    assert better.corrected <= 0.05
    assert better.effect > 1
    assert better.difference == pytest.approx(0.05, abs=0.01)
    equal = by_name["set1", "a", "b"]
    assert (equal.difference, equal.effect, equal.corrected) == (0.0, 0.0, 1.0)


def test_the_command_over_a_store(tmp_path, capsys):
    runs = tmp_path / "runs"
    for method, noise in (("hashnet", 0.05), ("triplet", 0.2), ("phpq", 0.45)):
        for bits in (12, 16):
            with_codes(runs, 0, method, bits, noise)
    out, plot = tmp_path / "out.json", tmp_path / "ranks.svg"
    assert main(["compare", "--runs", str(runs), "--json", str(out), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "average rank by mAP over 2 blocks" in printed
    assert "6 pairs, 6 of them differ" in printed
    assert "critical difference (Nemenyi, 5 %)" in printed
    stored = json.loads(out.read_text())
    assert stored["ranks"]["ranks"] == {"hashnet": 1.0, "triplet": 2.0, "phpq": 3.0}
    assert len(stored["pairs"]) == 6
    assert plot.read_text().startswith("<?xml")
    assert ranked_rows(runs).frame["rank"].tolist() == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "two runs are required, or --runs"),
        (["a"], "two runs are required, or --runs"),
        (["a", "b", "--runs", "c"], "expected two runs or one store"),
        (["a", "b", "--plot", "x.png"], "--plot is of a whole store"),
        (["--runs", "c", "--plot", "x.pdf"], "expected a name that ends in .png or .svg"),
        (["--runs", "none"], "no such folder 'none'"),
    ],
)
def test_bad_input(capsys, words, line):
    assert main(["compare", *words]) == 2
    assert line in capsys.readouterr().err
