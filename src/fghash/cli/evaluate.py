"""``fghash evaluate``: scores of stored codes, of any code base or of a stored run; no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.layers import notice
from fghash.cli.options import Options, at_least
from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.evaluation import RetrievalProtocol

DESCRIPTION = """\
Score codes: two .npz files of any code base, or a run of the store (the scores are then added to the run).

  fghash evaluate --gallery g.npz --queries q.npz --cutoffs 1 10 100 --json out.json
  fghash evaluate --run runs/synthetic/hashnet/32/ID --cutoffs 1 5

An .npz holds codes (n, bits) in {0,1} or {-1,+1}, or codes_packed (n, ceil(bits/8)) with bits, or embeddings,
or indices with codebooks; and labels, (n,) integers or (n, classes) 0/1. The status is 2 if no query has a
relevant gallery item."""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash evaluate ARGV``; the exit status."""
    given = _options().read(argv)
    _require_one_source(given)
    from fghash.evaluation import RetrievalProtocol, write_json

    protocol = RetrievalProtocol(cutoffs=tuple(given.cutoffs))
    rows = _of_run(given.run, protocol) if given.run else [_of_files(given, protocol)]
    for row in rows:
        print("\n".join(f"{name:<30} {_shown(value)}" for name, value in row.items()), end="\n\n")
    if given.json:
        write_json(given.json, {"records": rows} if len(rows) > 1 else rows[0])
    if any(row["map"] is None for row in rows):
        notice("no query has a relevant gallery item: nothing to score")
        return 2
    return 0


def _options() -> Options:
    options = Options("evaluate", DESCRIPTION)
    options.add_argument("--gallery", type=Path, metavar="FILE", help="codes that are searched")
    options.add_argument("--queries", type=Path, metavar="FILE", help="codes that are searched for")
    options.add_argument("--run", type=Path, metavar="DIR", help="a run's folder, in place of the two files")
    options.add_argument(
        "--cutoffs", nargs="+", type=at_least(1, "--cutoffs"), default=[1, 10, 100], metavar="K",
        help="the k of the scores @k (1 10 100)",
    )  # fmt: skip
    options.add_argument("--json", type=Path, metavar="FILE", help="write the scores there")
    options.add_argument("--memory", metavar="SIZE", help="working memory, e.g. 2GB")
    options.add_argument("--threads", type=at_least(1, "--threads"), metavar="N", help="cores (default: all)")
    options.add_argument(
        "--kernel", default="auto", help="auto, numba, numpy or torch; no score depends on it"
    )
    return options


def _require_one_source(given: argparse.Namespace) -> None:
    files = [given.gallery, given.queries]
    if given.run and any(files):
        raise InputError("evaluate: --run has its own codes, leave out --gallery and --queries")
    if not given.run and not all(files):
        raise InputError("evaluate: --gallery and --queries are both required (or --run)")


def _of_files(given: argparse.Namespace, protocol: RetrievalProtocol) -> dict[str, Any]:
    from fghash.evaluation import evaluate_files, parse_memory, report

    memory = None if given.memory is None else parse_memory(given.memory)
    progress = sys.stderr.isatty()
    return report(
        evaluate_files(
            given.gallery, given.queries, protocol,
            memory=memory, progress=progress, threads=given.threads, kernel=given.kernel,
        )
    )  # fmt: skip


def _of_run(folder: Path, protocol: RetrievalProtocol) -> list[dict[str, Any]]:
    from fghash.results.rescore import rescore

    own = ("bits", "gallery_codes", "protocol")
    records = rescore(folder, protocol)
    return [{**record.scores, **{name: getattr(record, name) for name in own}} for record in records]


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)
