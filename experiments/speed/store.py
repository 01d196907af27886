"""Seconds of the leaderboard of a large store, with and without its index.

    python experiments/speed/store.py                # 10,000 runs, two of each group
    python experiments/speed/store.py --runs 1000

The store is made in a temporary folder: records and configs as `fghash fit` writes them, without codes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from fghash.presets import read_preset
from fghash.report import leaderboard, to_csv, write_leaderboard
from fghash.store.index import NAME
from fghash.store.record import Record

PROTOCOL = "fghash-1@1,10,100"
SCORES = [f"{kind}_at_{k}" for kind in ("map", "precision", "recall") for k in (1, 10, 100)]


def make(runs: Path, position: int, seeds: int) -> None:
    """The files of one run that the leaderboard reads."""
    group, seed = divmod(position, seeds)
    run = f"{position:016x}"
    folder = runs / f"set{group % 3}" / "hashnet" / "32" / run
    for name in ("records", "finished"):
        (folder / name).mkdir(parents=True)
    record = Record(
        data=f"set{group % 3}", method="hashnet", bits=32, trained_bits=32, backbone="resnet50",
        gallery_codes="network", seed=seed, variant=f"method.alpha={group / 1000}", selection="last",
        protocol=PROTOCOL, data_fingerprint="1000-1000-400-60dd1d76b4de",
        data_description="20 classes, 1,000 train / 400 query", group=f"{group:016x}", run=run, notes="",
        scores={"map": 0.5, "map_real": 0.6, "n_queries": 400, **dict.fromkeys(SCORES, position / 10_000)},
        preset="default", epochs=30, image_passes=30_000, batch_size=64, train_seconds=1.5,
        stopped_by_time=False,
    )  # fmt: skip
    (folder / "records" / f"32-network-{PROTOCOL}.json").write_text(record.to_json())
    marker = {"protocol": PROTOCOL, "records": [f"32-network-{PROTOCOL}.json"]}
    (folder / "finished" / f"{PROTOCOL}.json").write_text(json.dumps(marker))
    (folder / "config.yaml").write_text(config(group, seed))


def config(group: int, seed: int) -> str:
    """The config of a run of the preset ``default`` with another ``method.alpha``."""
    preset = read_preset("hashnet")
    method = {"name": "hashnet", **preset.get("method", {}), "alpha": group / 1000}
    data = {"name": f"set{group % 3}", "root": "/data", "image_size": 224, **preset.get("data", {})}
    backbone = {"name": "resnet50", "weights": "pretrained", "options": {}, "freeze_batchnorm": False}
    return yaml.safe_dump(
        {
            **preset, "method": method, "data": data, "backbone": backbone, "bits": 32, "batch_size": 64,
            "seed": seed, "preset": "default",
        }, sort_keys=False,
    )  # fmt: skip


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the seconds of the block."""
    started = time.perf_counter()
    yield
    print(f"{what:<44} {time.perf_counter() - started:6.2f} s", flush=True)


def main() -> None:
    """Make the store and read it four times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        for position in range(given.runs):
            make(runs, position, given.seeds)
        time.sleep(2.5)  # younger files are not indexed yet
        print(f"{given.runs:,} runs, a record each")
        with timed("leaderboard, no index yet"):
            first = to_csv(leaderboard(runs))
        with timed("leaderboard, with the index"):
            second = to_csv(leaderboard(runs))
        print("the same table" if first == second else "ANOTHER TABLE")
        make(runs, given.runs, given.seeds)
        with timed("one run more, leaderboard written as CSV"):
            write_leaderboard(runs, [runs / "leaderboard.csv"])
        (runs / NAME).unlink()
        with timed("leaderboard, the index deleted"):
            leaderboard(runs)


if __name__ == "__main__":
    main()
