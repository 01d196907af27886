"""Whether methods come in the order that a paper prints: rank correlation of a leaderboard with its table.

    python experiments/leaderboard/order.py experiments/leaderboard/baselines_mobilenetv2.csv --data cub200

For each code length the methods that both have, by mAP, ours (network codes) and the paper's; Spearman's and
Kendall's coefficient. The numbers themselves do not compare: other network, other classes, frozen features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from scipy.stats import kendalltau, spearmanr

from fghash.published import tables


def main() -> None:
    """Print a line for each length, and one for the mean over lengths."""
    given = parse()
    board = pd.read_csv(given.leaderboard)
    ours = board[(board["data"] == given.data) & (board["gallery_codes"] == "network")]
    published = tables()
    theirs = published[
        (published["paper"] == given.paper)
        & (published["table"] == given.table)
        & (published["data"] == given.of)
        & (published["metric"] == "map")
    ]
    for bits in sorted(set(ours["bits"]) & set(theirs["bits"])):
        print_order(str(bits), scores(ours, bits, "map"), scores(theirs, bits, "score"))
    lengths = sorted(set(ours["bits"]) & set(theirs["bits"]))
    both = [
        pd.concat([scores(frame, bits, column) for bits in lengths], axis=1)
        .mean(axis=1, skipna=False)
        .dropna()
        for frame, column in ((ours, "map"), (theirs, "score"))
    ]
    print_order("all", *both)


def scores(frame: pd.DataFrame, bits: int, column: str) -> pd.Series:
    """The score of each method at a length."""
    return frame[frame["bits"] == bits].groupby("method")[column].mean()


def print_order(label: str, ours: pd.Series, theirs: pd.Series) -> None:
    """Both orders, best first, and how they agree."""
    both = pd.concat([ours.rename("ours"), theirs.rename("theirs")], axis=1).dropna()
    rho, tau = (float(f(both["ours"], both["theirs"]).statistic) for f in (spearmanr, kendalltau))
    print(f"{label:>4} bits, {len(both)} methods: Spearman {rho:.3f}, Kendall {tau:.3f}")
    for name in ("ours", "theirs"):
        ranked = both.sort_values(name, ascending=False)
        print(f"       {name:<7}" + " > ".join(f"{m} {v:.3f}" for m, v in ranked[name].items()))


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("leaderboard", type=Path)
    parser.add_argument("--data", default="cub200", help="of our rows")
    parser.add_argument("--paper", default="exchnet")
    parser.add_argument("--table", default="Table 2")
    parser.add_argument("--of", default="cub200", help="data of the paper's rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
