"""Binary codes in other people's search engines, each with its bit order, and the same search asked of it.

============ ========================== ====================================================================
target       place                      how code bits lie there
============ ========================== ====================================================================
pgvector     ``--dsn``, ``--table``     ``bit(n)``: bit i is character i of the text ``B'0110...'``
milvus       ``--out`` or ``--uri``     ``BINARY_VECTOR``: bit i is bit 7 - i % 8 of byte i // 8 (numpy's
                                        ``packbits``: most significant bit first), zeros behind
qdrant       ``--out`` or ``--uri``     ``uint8`` vectors of 0 and 1, element i is bit i; their Manhattan
                                        distance is the Hamming distance
lancedb      ``--out``                  lists of ``uint8``: most significant bit first, zeros behind
sqlite       ``--out``                  sqlite-vec's ``bit[n]``: bit i is bit i % 8 of byte i // 8 (least
                                        significant bit first), zeros behind
usearch      ``--out``                  ``b1x8``: most significant bit first, zeros behind
============ ========================== ====================================================================

Zeros behind, in items and in queries, change no distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.export.database import Answer, Place, Target, bits_of
from fghash.export.embedded import LanceDb, Milvus, Qdrant, Sqlite, USearch
from fghash.export.postgresql import PgVector
from fghash.search.coded_items import CodedItems
from fghash.search.engines import build_engine

TARGETS: dict[str, type[Target]] = {
    "pgvector": PgVector,
    "milvus": Milvus,
    "qdrant": Qdrant,
    "lancedb": LanceDb,
    "sqlite": Sqlite,
    "usearch": USearch,
}


def target(name: str, place: Place) -> Target:
    """The engine called ``name``."""
    if name not in TARGETS:
        raise InputError(f"--to: '{name}', expected one of {', '.join(TARGETS)}")
    return TARGETS[name](place)


@dataclass(frozen=True)
class Agreement:
    """How answers of another engine compare with ours.

    ``same``: queries whose distances are all the same and whose ids are, up to ties at the last distance.
    """

    queries: int
    same: int


def agreement(
    theirs: Sequence[Sequence[Answer]], items: CodedItems, queries: BinaryCodes, k: int
) -> Agreement:
    """Compare with an exact search of ours."""
    codes = bits_of(items)
    positions, distances = build_engine(codes, "flat").search(queries, min(k, len(codes)))
    same = 0
    for row, gaps, answers in zip(positions, distances, theirs, strict=True):
        last = gaps[-1]
        sure = {str(items.ids[i]) for i, gap in zip(row, gaps, strict=True) if gap < last}
        found = {name for name, gap in answers if gap < last}
        equal = [float(gap) for gap in gaps] == sorted(gap for _, gap in answers)
        same += int(equal and sure == found)
    return Agreement(len(queries), same)
