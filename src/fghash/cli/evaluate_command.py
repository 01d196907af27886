"""``fghash evaluate``: scores of stored codes, of any code base or of a stored run; no torch on the CPU."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.options import Options, add_cutoffs, at_least
from fghash.cli.output import nothing_to_score, print_scores, require_json, write_rows
from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.evaluation import RetrievalProtocol, TieGroups

DESCRIPTION = """\
Score codes: two .npz files of any code base, or a run of the store (the scores are then added to the run,
unless --convention asks for another code base's).

  fghash evaluate --gallery g.npz --queries q.npz --cutoffs 1 10 100 --json out.json
  fghash evaluate --gallery g.npz --queries q.npz --all-conventions
  fghash evaluate --run runs/synthetic/hashnet/32/ID --cutoffs 1 5 --bootstrap 10000 --curves curves

An .npz holds codes (n, bits) in {0,1} or {-1,+1}, or codes_packed (n, ceil(bits/8)) with bits, or embeddings,
or indices with codebooks; and labels, (n,) integers or (n, classes) 0/1. The status is 2 if no query has a
relevant gallery item."""

_NOT_WITH_ALL = ("convention", "bootstrap", "curves", "kernel", "device")


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash evaluate ARGV``; the exit status."""
    given = _options().read(argv)
    _require_one_source(given)
    _require_fitting(given)
    require_json(given.json, given.gallery, given.queries)
    return _tables(given) if given.all_conventions else _scores(given)


def _scores(given: argparse.Namespace) -> int:
    from fghash.cli.scored import score

    protocol = _protocol(given)
    scored = list(score(given, protocol))
    rows = [_with_intervals(given, *each, protocol) for each in scored]
    for row in rows:
        print_scores(row)
    if given.json:
        write_rows(given.json, rows)
    if any(row["n_queries_without_relevant"] == row["n_queries"] for row in rows):
        return nothing_to_score()
    for row, groups in scored if given.curves else ():
        _draw(given, groups(), _place(given.curves, row, len(scored)))
    return 0


def _tables(given: argparse.Namespace) -> int:
    from fghash.cli.scored import tables
    from fghash.evaluation import format_table

    found = list(tables(given))
    for each in found:
        if "bits" in each:
            print(f"{each['bits']} bits, {each['gallery_codes']} codes")
        print(format_table(each["conventions"]), end="\n\n")
    if given.json:
        write_rows(given.json, found)
    return nothing_to_score() if any(each["conventions"][0]["map"] is None for each in found) else 0


def _options() -> Options:
    options = Options("evaluate", DESCRIPTION)
    options.add_argument("--gallery", type=Path, metavar="FILE", help="codes that are searched")
    options.add_argument("--queries", type=Path, metavar="FILE", help="codes of the queries")
    options.add_argument("--run", type=Path, metavar="DIR", help="a run's folder, in place of the two files")
    add_cutoffs(options)
    options.add_argument("--json", type=Path, metavar="FILE", help="write the scores there")
    options.add_argument(
        "--convention", metavar="NAME", help="score as the evaluator of another code base does, e.g. semicon"
    )
    options.add_argument(
        "--all-conventions", action="store_true",
        help="a table of what every code base's evaluator makes of these codes, and how",
    )  # fmt: skip
    options.add_argument(
        "--bootstrap", type=at_least(100), metavar="N",
        help="95 %% intervals over queries, from N samples, e.g. 10000",
    )  # fmt: skip
    options.add_argument("--curves", type=Path, metavar="DIR", help="write curves there, as CSV and plots")
    options.add_argument(
        "--plots", nargs="*", choices=("png", "svg"), metavar="KIND",
        help="plots of the curves: png, svg, both or nothing (png)",
    )  # fmt: skip
    _add_work(options)
    return options


def _add_work(options: Options) -> None:
    options.add_argument("--memory", metavar="SIZE", help="working memory, e.g. 2GB")
    options.add_argument("--threads", type=at_least(1), metavar="N", help="cores (default: all)")
    options.add_argument("--kernel", help="auto, numba, numpy or torch; no score depends on it")
    options.add_argument("--device", metavar="cpu|cuda", help="count with torch there")


def _require_one_source(given: argparse.Namespace) -> None:
    files = [given.gallery, given.queries]
    if given.run and any(files):
        raise InputError("evaluate: --run has its own codes, leave out --gallery and --queries")
    if not given.run and not all(files):
        raise InputError("evaluate: --gallery and --queries are both required (or --run)")


def _require_fitting(given: argparse.Namespace) -> None:
    """No flag that would be without effect."""
    for name in _NOT_WITH_ALL if given.all_conventions else ():
        if getattr(given, name) is not None:
            raise InputError(f"evaluate: --all-conventions is a table of its own, leave out --{name}")
    if given.plots is not None and given.curves is None:
        raise InputError("evaluate: --plots are of the curves, give --curves DIR")


def _protocol(given: argparse.Namespace) -> RetrievalProtocol:
    from fghash.evaluation import OWN, RetrievalProtocol

    protocol = RetrievalProtocol(
        cutoffs=tuple(given.cutoffs), convention="fghash" if given.convention is None else given.convention
    )
    if given.bootstrap and protocol.convention not in OWN:
        raise InputError(f"--bootstrap: only for {', '.join(OWN)}, got --convention {given.convention}")
    return protocol


def _with_intervals(
    given: argparse.Namespace,
    row: dict[str, Any],
    groups: Callable[[], TieGroups],
    protocol: RetrievalProtocol,
) -> dict[str, Any]:
    if given.bootstrap is None:
        return row
    from fghash.evaluation import bootstrap_intervals

    return {**row, "intervals": bootstrap_intervals(groups(), protocol, samples=given.bootstrap)}


def _place(folder: Path, row: Mapping[str, Any], of: int) -> Path:
    """A folder for each kind of codes, where a run has several."""
    return folder / f"{row['bits']}-{row['gallery_codes']}" if of > 1 else folder


def _draw(given: argparse.Namespace, groups: TieGroups, folder: Path) -> None:
    from fghash.evaluation import write_curves

    for path in write_curves(groups, folder, plots=["png"] if given.plots is None else given.plots):
        print(f"curves: {path}")
