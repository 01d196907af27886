"""``fghash ann``: indexes over a stored run's items, measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fghash.cli.options import Options, at_least
from fghash.display import harmless
from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.ann.measure import Row

DESCRIPTION = """\
Measure nearest-neighbour indexes over the gallery of a stored run: precision@10 against labels, recall@10
against exact search, queries a second on one thread (one at a time and 1,000 at a time), memory and build
time, as a table and a plot (after ExchNet's Table 1). What is measured is kept, so that the command can be
repeated after an interruption.

  fghash ann --run runs/cub200/hashnet/32/ID --vectors runs/cub200/frozen/32/ID --out ann
  fghash ann --run ... --vectors ... --items 1000000 --dimensions 128"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash ann ARGV``; the exit status."""
    given = _options().read(argv)
    if given.out.exists() and not given.out.is_dir():
        raise InputError(f"--out: '{given.out}' is a file, expected a folder")
    if not 0 <= given.jitter <= 100:
        raise InputError(f"--jitter: {given.jitter}, expected 0 to 100")
    if not 0 < given.seconds <= 3600:
        raise InputError(f"--seconds: {given.seconds}, expected above 0, up to 3600")
    from fghash.ann.bed import Growth, make_bed
    from fghash.ann.indexes import chosen
    from fghash.ann.measure import measured
    from fghash.ann.written import append, bed_key, known_rows, write_outputs
    from fghash.search.engines import import_faiss

    import_faiss()
    bed = make_bed(
        given.run, given.vectors, bits=given.bits, growth=Growth(given.items, given.jitter, given.seed),
        dimensions=given.dimensions, n_queries=given.queries,
    )  # fmt: skip
    kinds = chosen(given.indexes, bed)
    title = (
        f"{len(bed.real):,} items, {len(bed.real_queries):,} queries, vectors of {bed.real.shape[1]} "
        f"dimensions, codes of {bed.codes.bits_per_item} bits"
    )
    print(title)
    given.out.mkdir(parents=True, exist_ok=True)
    key = bed_key(bed, given.seconds)
    known = {} if given.again else known_rows(given.out, key)
    rows = []
    for row in measured(bed, kinds, given.seconds, known, lambda line: print(line, flush=True)):
        if (row.index, row.setting) not in known:
            append(given.out, key, row)
        rows.append(row)
        print(f"  {_line(row)}", flush=True)
    for path in write_outputs(given.out, rows, harmless(title)):
        print(f"written: {path}")
    return 0


def _options() -> Options:
    options = Options("ann", DESCRIPTION)
    options.add_argument("--run", type=Path, required=True, metavar="DIR", help="whose codes are searched")
    options.add_argument("--vectors", type=Path, metavar="DIR", help="run whose real vectors are searched")
    options.add_argument("--bits", type=at_least(1), help="of the codes (the longest that the run stores)")
    options.add_argument("--items", type=at_least(1), help="make the gallery so large, by copies under noise")
    options.add_argument("--jitter", type=float, default=0.5, help="of copies, in standard deviations (0.5)")
    options.add_argument("--seed", type=at_least(0), default=0, help="of the noise (0)")
    options.add_argument("--dimensions", type=at_least(1), help="principal directions of the vectors to keep")
    options.add_argument("--queries", type=at_least(1), help="the first so many (all)")
    options.add_argument("--indexes", nargs="+", metavar="NAME", help="which (all that the codes can have)")
    options.add_argument("--seconds", type=float, default=10.0, help="for the timing of a row, at most (10)")
    options.add_argument("--out", type=Path, default=Path("ann"), metavar="FOLDER", help="for table and plot")
    options.add_argument("--again", action="store_true", help="measure what has been measured, too")
    return options


def _line(row: Row) -> str:
    name = f"{row.index} {row.setting}".strip()
    return (
        f"{name:<34} precision {row.precision_at_10:.4f}  recall {row.recall_at_10:.4f}  "
        f"{row.queries_per_second:>10.1f} queries/s (x{row.ratio:.2f})  {row.memory_mb:>9.1f} MB"
    )
