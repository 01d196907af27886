"""What every search engine of somebody else is to us: a place to write binary codes to, and to ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.search.coded_items import CodedItems, remove_quietly
from fghash.search.index_folder import class_in_words

_ROWS = 5000  # written at a time

Tell = Callable[[int], None]  # rows that were written since the last call
Answer = tuple[str, float]  # id and distance


@dataclass(frozen=True)
class Place:
    """Where codes go: a server's address, a file or folder of an embedded engine, and the table's name."""

    address: str
    table: str = "codes"
    replace: bool = False

    def path(self) -> Path:
        """The file or folder, which must not be there unless it is to be replaced.

        Raises:
            InputError: it is there.
        """
        path = Path(self.address)
        if path.exists():
            if not self.replace:
                raise InputError(f"--out: '{path}' is there already (--force replaces it)")
            remove_quietly(path)
        if not path.resolve().parent.is_dir():
            raise InputError(f"--out: there is no folder '{path.parent}' to write '{path.name}' in")
        return path


class Target(ABC):
    """A search engine that holds binary codes.

    Args:
        place: where.
    """

    bit_order = ""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def write(self, items: CodedItems, tell: Tell) -> str:
        """Put the items there; in words, what there is now.

        Raises:
            InputError: a package or server is missing, or something is there already.
        """

    @abstractmethod
    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """The k nearest of each query by exact search there, closest first."""

    def by_graph(self, queries: BinaryCodes, k: int) -> list[list[Answer]] | None:
        """The same by the approximate index that was built, ``None`` without one."""
        return None


def bits_of(items: CodedItems) -> BinaryCodes:
    """The codes of the items.

    Raises:
        InputError: they are not binary.
    """
    if not isinstance(items.codes, BinaryCodes):
        raise InputError(
            f"--to: codes are {type(items.codes).__name__}, expected binary codes (parquet takes any; fghash "
            "index searches codewords exactly)"
        )
    return items.codes


def classes_of(items: CodedItems) -> list[str]:
    """The class of each item in words."""
    names = tuple(str(name) for name in items.facts.get("class_names", ()))
    return [class_in_words(items.labels, names, i) for i in range(len(items))]


def most_significant_first(codes: BinaryCodes) -> NDArray[np.uint8]:
    """(n, ceil(bits / 8)) bytes as numpy packs them.

    >>> most_significant_first(BinaryCodes.from_values([[1, 0, 0, 0, 0, 0, 0, 0, 1]])).tolist()
    [[128, 128]]
    """
    return np.packbits(codes.bits, axis=1)


def bit_text(bits: NDArray[np.bool_]) -> str:
    """One code as PostgreSQL writes it.

    >>> bit_text(np.array([True, False, False]))
    '100'
    """
    return "".join("1" if bit else "0" for bit in bits)


def blocks(n: int) -> Iterator[range]:
    """Positions of n rows, so many at a time."""
    return (range(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS))


def reason(error: Exception) -> str:
    """What another package says, in one line."""
    return " ".join(str(error).split())[:300]
