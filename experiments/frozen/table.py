"""The frozen table: heads on cached features, each method tuned with the same budget, all lengths and seeds.

For every data set, backbone and method: `fghash tune` (32 bits, val/map on a fifth of train), then a run for
each length and seed with the tuned preset. Everything runs in this one process, one training at a time; what
is finished is skipped, so the command can be started again after any interruption.

    python experiments/frozen/table.py experiments/frozen/cub50.yaml --set root=cub50 --set weights=FILE \\
        --runs runs --tuned tuned [--methods hashnet phpq] [--trials 20]

The grid's header says what it reproduces and how long it takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from fghash.api import fit
from fghash.errors import InputError
from fghash.registry import METHODS
from fghash.settings.resolve import configure
from fghash.tuning.spaces import read_space
from fghash.tuning.trials import Plan, check, opened_study, run_trials
from fghash.tuning.tuned_preset import write_tuned


def main() -> int:
    """Tune and run; the number of cells that failed."""
    given = parse()
    text = given.grid.read_text(encoding="utf-8")
    for pair in given.set:
        name, _, value = pair.partition("=")
        text = text.replace(f"${{{name}}}", value)
    grid, failed, started = yaml.safe_load(text), 0, time.monotonic()
    torch.set_num_threads(given.threads or torch.get_num_threads())
    for method in given.methods or grid["methods"]:
        try:
            preset: Path | str = tuned(method, grid, given) if read_space(method, frozen=True) else "default"
        except InputError as error:
            print(f"{method}: {error}", flush=True)
            failed += 1
            continue
        for bits in lengths(method, grid["bits"]):
            for seed in grid["seeds"]:
                began = time.monotonic()
                result = fit(
                    grid["common"],
                    method=method,
                    bits=bits,
                    seed=seed,
                    preset=str(preset),
                    runs=str(given.runs),
                )
                shown = " ".join(f"{each.bits}:{each.scores['map']:.4f}" for each in result.records)
                print(f"{method} {bits} seed {seed}: {shown} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"hours: {(time.monotonic() - started) / 3600:.2f}")
    return failed


def tuned(method: str, grid: Mapping[str, Any], given: argparse.Namespace) -> Path:
    """The tuned preset of a method, made if it is not there."""
    sources = (
        {"trainer": {"enable_progress_bar": False}}, grid["common"],
        {"method": method, "bits": grid["tune"]["bits"], "data": {"validation": grid["tune"]["validation"]}},
    )  # fmt: skip
    base = configure(sources)
    frozen = base.backbone.freeze == "all"
    plan = Plan(base, sources, read_space(method, frozen), given.trials, grid["tune"].get("passes"))
    check(plan)
    path: Path = given.tuned / plan.folder / f"{method}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened_study(plan, path.with_suffix(".journal")) as study:
        run_trials(plan, study, lambda line: print(line, flush=True))
        write_tuned(plan, study, path, " ".join(["python", *sys.argv]))
    return path


def lengths(method: str, wanted: list[int]) -> Iterator[int]:
    """The lengths that the method can have; of a method that gives several in one training the longest."""
    allowed = [bits for bits in wanted if allows(method, bits)]
    yield from allowed[-1:] if METHODS[method].nested else allowed


def allows(method: str, bits: int) -> bool:
    """Whether the method has codes of this length."""
    try:
        METHODS[method].load().allows_bits(bits)
    except InputError:
        return False
    return True


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="for ${NAME} in the grid"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tuned", type=Path, default=Path("tuned"))
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
