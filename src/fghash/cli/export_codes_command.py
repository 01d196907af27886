"""``fghash export-codes``: codes into databases and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fghash.cli.encode_command import progress
from fghash.cli.options import Options, at_least
from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.export.database import Target
    from fghash.search.coded_items import CodedItems

DESCRIPTION = """\
Put codes into another search engine, where one machine is too small. SOURCE is a run, an index, or a file of
codes. --check asks the engine for the nearest items of the first codes and compares with ours. The order of
bits in each target is said at the end, and in docs/scale.md.

  fghash export-codes index --to pgvector --dsn postgresql://me@127.0.0.1/birds --check 100
  fghash export-codes codes.npz --to sqlite --out birds.db
  fghash export-codes runs/synthetic/adsh/32/ID --to parquet --out birds.parquet"""
_EMBEDDED = ("milvus", "qdrant", "lancedb", "sqlite", "usearch")
_TABLES = {"parquet": ".parquet", "lance": ".lance", "npz": ".npz"}
_TOP = 10


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash export-codes ARGV``; the exit status."""
    given = _options().read(argv)
    address = _address(given)
    items = _items(given.source)
    if given.to in _TABLES:
        from fghash.search.coded_items import save_items

        save_items(Path(address), items)
        print(f"{address}: {len(items):,} rows")
        return 0
    from fghash.export.database import Place, bits_of
    from fghash.export.databases import target

    bits_of(items)
    engine = target(given.to, Place(address, given.table, given.force))
    with progress() as bar:
        task = bar.add_task(given.to, total=len(items))
        said = engine.write(items, lambda count: bar.advance(task, count))
    print(f"{given.to}: {said}; bit order: {engine.bit_order}")
    return _checked(engine, items, given.check) if given.check else 0


def _checked(engine: Target, items: CodedItems, count: int) -> int:
    """Ask for the first codes; 2 where an exact search there finds something else."""
    from fghash.export.database import bits_of
    from fghash.export.databases import agreement

    queries = bits_of(items).take(slice(0, count))
    found = agreement(engine.search(queries, _TOP), items, queries, _TOP)
    print(f"exact search there: {found.same} of {found.queries} queries have our top {_TOP}, up to ties")
    by_graph = engine.by_graph(queries, _TOP)
    if by_graph is not None:
        near = agreement(by_graph, items, queries, _TOP)
        print(f"its graph: {near.same} of {near.queries} (approximate)")
    return 0 if found.same == found.queries else 2


def _address(given: argparse.Namespace) -> str:
    """The one of ``--dsn``, ``--uri`` and ``--out`` that the target takes."""
    from fghash.export.databases import TARGETS

    known = (*TARGETS, *_TABLES)
    if given.to not in known:
        raise InputError(f"--to: '{given.to}', expected one of {', '.join(known)}")
    flags = {"--dsn": given.dsn, "--uri": given.uri, "--out": given.out}
    allowed = {"pgvector": ("--dsn",), "milvus": ("--out", "--uri"), "qdrant": ("--out", "--uri")}
    taken = allowed.get(given.to, ("--out",))
    said = [flag for flag, value in flags.items() if value is not None]
    if len(said) != 1 or said[0] not in taken:
        raise InputError(f"--to {given.to}: {' '.join(said) or 'no place'}, expected {' or '.join(taken)}")
    address = str(flags[said[0]])
    if given.to in _TABLES:
        if Path(address).suffix != _TABLES[given.to]:
            raise InputError(f"--out: '{address}', expected a name that ends in {_TABLES[given.to]}")
        if Path(address).exists() and not given.force:
            raise InputError(f"--out: '{address}' is there already (--force replaces it)")
    return address


def _items(source: str) -> CodedItems:
    """Of a file of codes, an index, or a run."""
    from fghash.search.coded_items import SUFFIXES, load_items
    from fghash.search.index_folder import open_index
    from fghash.search.index_manifest import MANIFEST

    path = Path(source)
    if path.suffix in SUFFIXES:
        return load_items(path)
    if (path / MANIFEST).is_file():
        return open_index(path).items
    from fghash.api import find_run
    from fghash.search.run_items import items_of_run

    return items_of_run(find_run(source))


def _options() -> Options:
    options = Options("export-codes", DESCRIPTION)
    options.add_argument("source", metavar="SOURCE", help="run, index, or file of codes")
    options.add_argument(
        "--to", required=True, metavar="TARGET",
        help=f"pgvector, {', '.join(_EMBEDDED)}, {', '.join(_TABLES)}",
    )  # fmt: skip
    options.add_argument("--dsn", metavar="DSN", help="address of a PostgreSQL")
    options.add_argument("--uri", metavar="URI", help="address of a Milvus or Qdrant server")
    options.add_argument("--out", metavar="PATH", help="file or folder of an embedded engine, or a table")
    options.add_argument(
        "--table", default="codes", metavar="NAME", help="of the table or collection (codes)"
    )
    options.add_argument(
        "--check", type=at_least(1), metavar="N", help="compare the search of N codes with ours"
    )
    options.add_argument("--force", action="store_true", help="replace what is there")
    return options
