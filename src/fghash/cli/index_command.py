"""``fghash index``: make an index of codes, change it, look at it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fghash.cli.options import Options, at_least
from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.search.index_folder import SearchIndex

DESCRIPTION = """\
Make an index of a run's gallery or of a file of codes (fghash encode), or change one. Binary codes:
--structure flat (exact), ivf or hnsw. Codewords: exact, by lookup tables of the learned codebooks. Real
vectors: flat, ivf or hnsw. --vectors keeps real vectors for fghash search --rerank.

  fghash index runs/synthetic/phpq/32/ID --out birds
  fghash index codes.npz --structure hnsw --out photos
  fghash index photos --add more.npz           add the items of a file
  fghash index photos --remove a.jpg b.jpg     or @names.txt, an id a line
  fghash index photos                          check it and tell what it is"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash index ARGV``; the exit status."""
    given = _options().read(argv)
    changes = [name for name in ("add", "remove") if getattr(given, name) is not None]
    if given.out is not None and changes:
        raise InputError(f"--{changes[0]}: beside --out, expected one of the two")
    if given.out is not None:
        index = _built(given)
    else:
        building = [
            n for n in ("structure", "bits", "vectors", "lists", "links") if getattr(given, n) is not None
        ]
        if building:
            raise InputError(f"--{building[0]}: without --out, expected --out with a new folder")
        index = _changed(given)
    print(_described(index))
    return 0


def _built(given: argparse.Namespace) -> SearchIndex:
    from fghash.search.coded_items import SUFFIXES, load_items
    from fghash.search.engines import import_faiss

    import_faiss()
    source: Path = given.source
    if source.suffix in SUFFIXES:
        items = load_items(source)
        if given.bits is not None:
            raise InputError("--bits: beside a file of codes, expected it with a run of nested codes only")
    else:
        from fghash.api import find_run
        from fghash.search.run_items import OWN, items_of_run

        items = items_of_run(find_run(source), given.bits, given.vectors == OWN)
    about = None
    if given.vectors not in (None, "own"):
        from fghash.search.run_items import with_vectors_of

        items, about = with_vectors_of(items, Path(given.vectors))
    from fghash.search.index_folder import build_index

    links = given.links or 16
    return build_index(given.out, items, given.structure, lists=given.lists, links=links, vectors=about)


def _changed(given: argparse.Namespace) -> SearchIndex:
    from fghash.search.coded_items import load_items
    from fghash.search.index_changes import add_items, remove_items
    from fghash.search.index_folder import open_index

    index = None
    if given.add is not None:
        index = add_items(given.source, load_items(given.add))
    if given.remove is not None:
        index = remove_items(given.source, _ids(given.remove))
    return index or open_index(given.source)


def _ids(words: Sequence[str]) -> list[str]:
    """The words, those of a file for ``@file``."""
    ids: list[str] = []
    for word in words:
        if not word.startswith("@"):
            ids.append(word)
            continue
        try:
            lines = Path(word[1:]).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError as error:
            raise InputError(f"--remove: cannot read '{word[1:]}' ({error.strerror})") from error
        ids += [line for line in lines if line]
    return ids


def _described(index: SearchIndex) -> str:
    about = index.manifest
    n_bytes = sum(int(each["bytes"]) for each in about.files.values())
    made = f"{about.facts.get('method', 'unknown method')}, encoder {about.encoder or 'not known'}"
    again = f", vectors of {json.dumps(about.vectors['similarity'])}" if about.vectors else ""
    padded = f" (padded to {about.padded_bits})" if about.padded_bits != about.bits else ""
    return (
        f"{index.folder}: {about.items:,} items, {about.structure}, {about.bits} bits{padded}, {made}{again}"
        f", {n_bytes / 1e6:.2f} MB"
    )


def _options() -> Options:
    options = Options("index", DESCRIPTION)
    options.add_argument("source", type=Path, metavar="RUN|CODES|INDEX", help="what is indexed or changed")
    options.add_argument("--out", type=Path, metavar="FOLDER", help="the new index")
    options.add_argument(
        "--structure", metavar="NAME", help="flat, ivf, hnsw; exact for codewords (the exact one)"
    )
    options.add_argument("--bits", type=at_least(1), help="of a run's nested codes (the longest)")
    options.add_argument(
        "--vectors", nargs="?", const="own", metavar="RUN|FILE",
        help="keep real vectors for re-ranking: the run's own, or those of another run or file",
    )  # fmt: skip
    options.add_argument("--lists", type=at_least(1), help="of ivf (about twice the root of the items)")
    options.add_argument("--links", type=at_least(2), help="of a node of hnsw (16)")
    options.add_argument("--add", type=Path, metavar="CODES", help="add the items of a file to an index")
    options.add_argument(
        "--remove", nargs="+", metavar="ID", help="remove items from an index; @FILE lists ids"
    )
    return options
