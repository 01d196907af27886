"""``fghash search``: the nearest items of an index for images or codes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.options import Options, at_least
from fghash.display import harmless

if TYPE_CHECKING:
    from fghash.search.image_lists import ImageSource
    from fghash.search.index_folder import SearchIndex
    from fghash.search.searching import Queries, Results

DESCRIPTION = """\
Find the nearest items of an index for images (files, folders, patterns, lists, shards) or for a file of
codes. Images are encoded by the run that the index was made with; --run names it where it has moved.

  fghash search birds query.png --top 10
  fghash search birds photos --rerank 100 --show found.html
  fghash search birds queries.npz --json found.json"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash search ARGV``; the exit status."""
    given = _options().read(argv)
    from fghash.cli.output import require_json
    from fghash.search.contact_sheet import require_sheet
    from fghash.search.index_folder import open_index
    from fghash.search.searching import search

    require_json(given.json)
    if given.show is not None:
        require_sheet(given.show)
    index = open_index(given.index)
    queries, sources = _queries(given, index)
    results = search(index, queries, given.top, given.rerank, given.effort)
    if given.json is not None:
        from fghash.evaluation import write_json

        write_json(given.json, _as_json(index, results))
    if given.show is not None:
        _show(given, index, results, sources)
    else:
        _print(results)
    per_query = 1000 * results.seconds / len(results.hits)
    print(f"{len(results.hits):,} queries, {len(index.items):,} items, {per_query:.3f} ms a query")
    return 0


def _queries(given: argparse.Namespace, index: SearchIndex) -> tuple[Queries, Sequence[ImageSource] | None]:
    """Images or codes; the images, where there are any."""
    from fghash.search.coded_items import SUFFIXES, load_items
    from fghash.search.searching import encode_queries, query_encoder, stored_queries, vector_encoder

    if len(given.queries) == 1 and Path(given.queries[0]).suffix in SUFFIXES:
        return stored_queries(index, load_items(Path(given.queries[0]))), None
    from fghash.search.image_lists import Columns, list_images

    columns = Columns(given.column, given.id_column, given.label_column)
    sources = list_images(given.queries, columns)
    encoder = query_encoder(index, given.run)
    vectors = vector_encoder(index, encoder) if given.rerank is not None else None
    return encode_queries(index, sources, encoder, vectors), sources


def _show(
    given: argparse.Namespace, index: SearchIndex, results: Results, sources: Sequence[ImageSource] | None
) -> None:
    from fghash.data.images.decoding import read_image
    from fghash.search.contact_sheet import sheet_rows, write_sheet
    from fghash.search.item_images import reader

    queries: list[Any] = [None] * len(results.hits)
    if sources is not None:
        queries = [read_image(source.open(), 160) for source in sources]
    again = f", the best of {given.rerank} by real vectors" if given.rerank else ""
    about = index.manifest
    made = f"{about.facts.get('method', 'codes')}, {about.bits} bits"
    title = f"{index.folder.name}: {made}, top {given.top}{again}"
    write_sheet(given.show, sheet_rows(results, queries, reader(index)), title)
    print(_in_short(results))
    print(f"written: {given.show}")


def _in_short(results: Results) -> str:
    """How many of the hits have the query's class, where classes are known."""
    known = [
        wanted in hit.class_name.split(", ")
        for wanted, hits in zip(results.queries.classes, results.hits, strict=True)
        for hit in hits
        if wanted and hit.class_name
    ]
    if not known:
        return f"{sum(map(len, results.hits)):,} items found"
    return f"{sum(known):,} of {len(known):,} items found have the class of their query"


def _print(results: Results) -> None:
    from fghash.search.contact_sheet import shown_distance

    for name, wanted, hits in zip(results.queries.ids, results.queries.classes, results.hits, strict=True):
        print(harmless(f"{name}{f'  ({wanted})' if wanted else ''}"))
        for rank, hit in enumerate(hits, start=1):
            print(
                harmless(
                    f"{rank:>4}  {shown_distance(hit.distance):>10}  {hit.class_name or '-':<28}  {hit.id}"
                )
            )


def _as_json(index: SearchIndex, results: Results) -> dict[str, Any]:
    names = zip(results.queries.ids, results.queries.classes, results.hits, strict=True)
    return {
        "index": str(index.folder),
        "method": index.manifest.facts.get("method"),
        "bits": index.manifest.bits,
        "ms_per_query": 1000 * results.seconds / len(results.hits),
        "queries": [
            {
                "query": name,
                "class": wanted or None,
                "found": [
                    {"rank": i, "id": hit.id, "distance": hit.distance, "class": hit.class_name or None}
                    for i, hit in enumerate(hits, start=1)
                ],
            }
            for name, wanted, hits in names
        ],
    }


def _options() -> Options:
    options = Options("search", DESCRIPTION)
    options.add_argument("index", type=Path, metavar="INDEX", help="the folder of an index (fghash index)")
    options.add_argument("queries", nargs="+", metavar="IMAGES|CODES", help="what to search for")
    options.add_argument("--top", type=at_least(1), default=10, metavar="K", help="items of each query (10)")
    options.add_argument(
        "--rerank", type=at_least(1), metavar="N", help="rank the best N again by real vectors"
    )
    options.add_argument(
        "--effort", type=at_least(1), help="ivf: lists to look into (16); hnsw: candidates (64)"
    )
    options.add_argument("--run", metavar="RUN", help="run or bundle that encodes the queries")
    options.add_argument("--show", type=Path, metavar="FILE", help="write a contact sheet, .html or .png")
    options.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    options.add_argument("--column", metavar="NAME", help="of paths, in lists")
    options.add_argument("--id_column", metavar="NAME", help="of ids, in lists")
    options.add_argument("--label_column", metavar="NAME", help="of classes, in lists")
    return options
