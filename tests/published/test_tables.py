from __future__ import annotations

import math

import pandas as pd
import pytest

from fghash.published import PAPERS, nearest_neighbour_table, tables

CELLS = [
    ("hashnet", "main", "hashnet", "imagenet100", 16, ".5059"),
    ("hashnet", "main", "hashnet", "coco", 64, ".7362"),
    ("hashnet", "main", "bre", "nuswide81", 16, ".0628"),
    ("hashnet", "main, arXiv v1", "bre", "nuswide81", 16, ".5027"),
    ("hashnet", "main, arXiv v1", "hashnet", "imagenet100", 32, ".6061"),
    ("hashnet", "main", "lsh", "coco", 64, ".5849"),
    ("hashnet", "precision within Hamming radius 2", "hashnet", "nuswide81", 48, ".54"),
    ("hashnet", "independent reproduction", "hashnet", "cub200", 48, "45.7"),
    ("hashnet", "independent reproduction", "hashnet", "aircraft", 12, "12.1"),
    ("exchnet", "Table 2", "exchnet", "cub200", 12, "25.14"),
    ("exchnet", "Table 2", "adsh", "cub200", 32, "61.68"),
    ("exchnet", "Table 2", "hashnet", "cub200", 24, "17.77"),
    ("exchnet", "Table 2", "lsh", "nabirds", 12, "0.90"),
    ("exchnet", "Table 2", "exchnet", "food101", 48, "64.19"),
    ("exchnet", "Table 2", "dsh", "vegfru", 48, "17.12"),
    ("exchnet", "independent reproduction", "exchnet", "dogs", 24, "84.2"),
    ("exchnet", "independent reproduction", "semicon", "aircraft", 48, "84.4"),
    ("a2-net", "main", "a2-net", "cub200", 32, "71.61"),
    ("fph", "main", "fph", "cub200", 16, ".5169"),
    ("fph", "main", "fph", "dogs", 48, ".7060"),
    ("fph", "main", "fph", "dogs", 64, ""),
    ("dpq", "main", "dpq", "cifar10", 8, ".814"),
    ("dpq", "main", "dpq", "nuswide21", 32, ".834"),
    ("dpq", "main", "dpq", "imagenet100", 32, ".623"),
    ("dpq", "its own paper", "dvsq", "imagenet100", 8, ".658"),
    ("dpq", "baselines", "itq-cca", "imagenet100", 32, ".436"),
    ("drq", "second CIFAR-10 table", "dsch", "cifar10", 48, ".686"),
]


@pytest.fixture(scope="module")
def printed() -> pd.DataFrame:
    return tables()


@pytest.mark.parametrize(("paper", "table", "method", "data", "bits", "value"), CELLS)
def test_a_cell_is_as_printed(
    printed: pd.DataFrame, paper: str, table: str, method: str, data: str, bits: int, value: str
) -> None:
    rows = printed.query("paper == @paper and table == @table and method == @method and data == @data")
    plain = rows[(rows["bits"] == bits) & rows["variant"].isin(["", "arXiv v1"])]
    assert list(plain["value"]) == [value]


@pytest.mark.parametrize(
    ("variant", "data", "values"),
    [
        ("no pair weights (-W)", "imagenet100", [".3350", ".4852", ".5668", ".5992"]),
        ("plain tanh, no continuation (-sgn)", "coco", [".6449", ".6891", ".7056", ".7138"]),
        ("no exchange", "cub200", ["22.91", "54.37", "64.88", "70.09"]),
        ("parts=6", "food101", ["42.61", "53.09", "55.63", "62.61"]),
    ],
)
def test_ablations_are_as_printed(printed: pd.DataFrame, variant: str, data: str, values: list[str]) -> None:
    rows = printed[(printed["variant"] == variant) & (printed["data"] == data)]
    assert list(rows.sort_values("bits")["value"]) == values


def test_every_table_is_whole(printed: pd.DataFrame) -> None:
    sizes = printed.groupby(["paper", "table"]).size().to_dict()
    assert sizes["exchnet", "Table 2"] == 5 * 4 * 9
    assert sizes["exchnet", "Figures 5 and 6"] == 5 * 3 * 4
    assert sizes["exchnet", "independent reproduction"] == 4 * 6 * 4
    assert sizes["hashnet", "main"] == 11 * 12
    assert sizes["hashnet", "ablation"] == 4 * 12
    assert sizes["dpq", "baselines"] == 10 * 12
    assert sizes["dpq", "main"] == 2 * 12
    assert sizes["fph", "main"] == 8


def test_scores_are_the_printed_values_in_0_to_1(printed: pd.DataFrame) -> None:
    seen = printed[printed["value"] != ""]
    assert seen["score"].between(0, 1).all()
    by_hand = printed[(printed["table"] == "Table 2") & (printed["data"] == "cub200")]
    assert by_hand[by_hand["method"] == "exchnet"]["score"].tolist() == [0.2514, 0.5898, 0.6774, 0.7105]
    assert printed[printed["value"] == ""]["score"].map(math.isnan).all()


def test_every_cell_says_where_it_is_from_and_how_sure_that_is(printed: pd.DataFrame) -> None:
    for column in ("source", "certainty", "backbone", "gallery_codes", "selection", "metric"):
        assert (printed[column] != "").all(), column
    certainty = printed["certainty"].str.partition(":")[0].str.partition(",")[0]
    assert set(certainty) == {"primary", "secondary", "memory"}


def test_no_number_is_given_for_phpq(printed: pd.DataFrame) -> None:
    assert "phpq" in PAPERS
    assert not (printed["method"] == "phpq").any()


def test_the_table_of_approximate_search_is_as_printed() -> None:
    frame = nearest_neighbour_table().set_index(["method", "dimensions"])
    assert frame.loc[("linear", 1024), "wall_time"] == 22377.96
    assert frame.loc[("exchnet", 512), "precision_at_10"] == 77.69
    assert frame.loc[("pq", 512), ["memory", "memory_unit"]].tolist() == [524.5, "KB"]
    assert frame.loc[("kdtree", 1024), "speed_up"] == 304.14
    assert len(frame) == 10
