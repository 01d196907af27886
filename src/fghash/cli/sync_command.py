"""``fghash sync``: to Weights & Biases, later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fghash.cli.options import Options
from fghash.display import harmless
from fghash.errors import InputError

DESCRIPTION = """\
Upload the finished runs of a store to Weights & Biases that were made offline, or without it: config, every
logged step, scores, precision and recall, model and codes, each run under its own id.

  fghash sync runs --project birds"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash sync ARGV``; the exit status."""
    options = Options("sync", DESCRIPTION)
    options.add_argument("runs", type=Path, nargs="?", default=Path("runs"), metavar="RUNS", help="the store")
    options.add_argument("--project", default="fghash", help="project of Weights & Biases (fghash)")
    options.add_argument("--entity", help="its user or team")
    options.add_argument("--group", help="its group of runs")
    options.add_argument("--again", action="store_true", help="upload those too that have been")
    options.add_argument("--offline", action="store_true", help="write what would be uploaded to this disk")
    given = options.read(argv)
    if not given.runs.is_dir():
        raise InputError(f"runs: no such folder '{given.runs}'")
    from fghash.settings.config import TrackingConfig
    from fghash.sync import sync
    from fghash.training.tracking import knows_key

    if not given.offline and not knows_key():
        raise InputError("sync: Weights & Biases knows no key here, expected wandb login, or --offline")
    place = {"project": given.project, "entity": given.entity, "group": given.group}
    tracking = TrackingConfig(name=("wandb",), offline=given.offline, **place)
    count = sync(given.runs, tracking, given.again, lambda line: print(harmless(line), flush=True))
    print(
        f"uploaded: {count} runs"
        if count
        else "nothing to upload: all runs have been (--again does it again)"
    )
    return 0
