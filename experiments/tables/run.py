"""Run a grid: one `fghash fit` after another, never two at once (they would share the cores and both lose).

    python experiments/tables/run.py experiments/tables/demo.yaml --runs runs
    python experiments/tables/run.py experiments/tables/pyramids.yaml --dry -- --data.root ~/cub50 --gpus 0

A grid is YAML: `common`, settings of every run; `seeds`; `rows`, the settings in which each run differs. What
follows `--` goes to every command. fghash skips a finished run, so a grid can be started again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FGHASH = Path(sys.executable).with_name("fghash")


def commands(grid: Mapping[str, Any], runs: Path, extra: list[str]) -> Iterator[list[str]]:
    """The command of each row and seed; all rows of the first seed come first."""
    for seed in grid.get("seeds", [0]):
        for row in grid["rows"]:
            settings = [*flags(grid.get("common", {})), *flags(row)]
            yield ["fghash", "fit", *settings, "--seed", str(seed), "--runs", str(runs), *extra]


def flags(settings: Mapping[str, Any], above: str = "") -> list[str]:
    """Nested settings as flags; a `name` is the value of the word above it."""
    found: list[str] = []
    for key, value in settings.items():
        word = above if key == "name" and above else f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            found += flags(value, word)
        elif word == "cutoffs":
            found += ["--cutoffs", *map(str, value)]
        else:
            found += [f"--{word}", value if isinstance(value, str) else json.dumps(value)]
    return found


def main() -> int:
    """Run or, with ``--dry``, print the commands; the number of those that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--dry", action="store_true", help="print the commands only")
    words = [*sys.argv[1:], "--"]
    cut = words.index("--")
    given, extra = parser.parse_args(words[:cut]), words[cut + 1 : -1]
    failed = 0
    for command in commands(yaml.safe_load(given.grid.read_text()), given.runs, extra):
        print(shlex.join(command), flush=True)
        if not given.dry:
            failed += subprocess.run([FGHASH, *command[1:]], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
