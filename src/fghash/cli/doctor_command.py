"""``fghash doctor``: one page about this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fghash import __version__
from fghash.cli.options import Options
from fghash.display import harmless
from fghash.errors import InputError

DESCRIPTION = """\
Look at this machine: versions and known bad ones, devices, a sum over two processes, disk, data sets,
plug-ins, Weights & Biases. Each line says what to do. Exit status 2 if something is bad.

  fghash doctor --runs runs --cache cache --data cub200=CUB_200_2011"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash doctor ARGV``; the exit status."""
    options = Options("doctor", DESCRIPTION)
    options.add_argument("--runs", type=Path, default=Path("runs"), metavar="RUNS", help="the store (runs)")
    options.add_argument(
        "--cache", type=Path, nargs="+", default=[], metavar="DIR", help="caches of images or features"
    )
    options.add_argument(
        "--data", nargs="+", default=[], metavar="NAME=DIR", help="data sets and their folders"
    )
    options.add_argument("--json", action="store_true", help="print one JSON list")
    given = options.read(argv)
    data = [_named(text) for text in given.data]
    from fghash.doctor import BAD, examine

    findings = []
    for each in examine(given.runs, data, given.cache):
        findings.append(each)
        if not given.json:
            print(harmless(f"{each.state:<5}{each.topic:<18}{each.said}"), flush=True)
            if each.advice:
                print(harmless(f"{'':<23}-> {each.advice}"), flush=True)
    bad = [each for each in findings if each.state == BAD]
    if given.json:
        print(json.dumps({"fghash": __version__, "findings": [asdict(each) for each in findings]}, indent=1))
    else:
        print(f"fghash {__version__}: {len(findings)} things looked at, {len(bad)} bad")
    return 2 if bad else 0


def _named(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise InputError(f"--data: '{text}', expected NAME=DIR such as cub200=CUB_200_2011")
    return name, Path(folder)
