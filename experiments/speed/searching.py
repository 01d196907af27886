"""Search of an index against faiss alone and against brute force, in one run; prints milliseconds and ratios.

python experiments/speed/searching.py --items 1000000 --bits 64
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

from fghash.codes import BinaryCodes
from fghash.search.coded_items import CodedItems
from fghash.search.index_folder import build_index, open_index


def timed(function, repeats: int) -> float:
    """Milliseconds of the quickest of so many calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def same_neighbours(found: np.ndarray, distances: np.ndarray, queries: np.ndarray, codes: np.ndarray) -> int:
    """Queries whose distances are those of brute force, and whose items have the distances that are said."""
    same = 0
    for query, items, gaps in zip(queries, found, distances, strict=True):
        all_gaps = np.bitwise_count(codes ^ query).sum(1)
        expected = np.sort(all_gaps)[: len(items)]
        same += int(
            (gaps == expected).all() and (all_gaps[items] == gaps).all() and len(set(items)) == len(items)
        )
    return same


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--items", type=int, default=1_000_000)
    options.add_argument("--bits", type=int, default=64)
    options.add_argument("--queries", type=int, default=200)
    options.add_argument("--top", type=int, default=10)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    random = np.random.default_rng(0)
    codes = BinaryCodes(random.random((given.items, given.bits)) < 0.5)
    queries = BinaryCodes(random.random((given.queries, given.bits)) < 0.5)
    items = CodedItems(codes, np.arange(given.items).astype(np.str_))
    packed, asked = codes.packed(), queries.packed()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build_index(Path(folder) / "index", items)
        built = time.perf_counter() - start
        start = time.perf_counter()
        index = open_index(Path(folder) / "index")
        opened = time.perf_counter() - start
        alone = faiss.IndexBinaryFlat(8 * packed.shape[1])
        alone.add(packed)
        found, distances = index.search(queries, given.top)
        same = same_neighbours(found, distances, asked, packed)
        print(f"{given.items:,} items of {given.bits} bits: built in {built:.1f} s, opened in {opened:.1f} s")
        print(f"{same} of {given.queries} queries have the neighbours of brute force, up to ties")
        one = [queries.take([i]) for i in range(len(queries))]
        for name, ours, theirs, count in (
            ("one at a time", lambda: [index.search(each, given.top) for each in one],
             lambda: [alone.search(row[None], given.top) for row in asked], given.queries),
            ("all at once", lambda: index.search(queries, given.top),
             lambda: alone.search(asked, given.top), given.queries),
        ):  # fmt: skip
            rounds = [(timed(ours, 1), timed(theirs, 1)) for _ in range(given.repeats)]
            mine, faiss_ms = (min(each) / count for each in zip(*rounds, strict=True))
            print(
                f"{name}: {mine:.3f} ms a query, faiss alone {faiss_ms:.3f} ms, ratio {faiss_ms / mine:.3f}"
            )


if __name__ == "__main__":
    main()
