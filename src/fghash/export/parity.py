"""Whether a graph makes the codes that the run makes, and what it costs in mAP where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fghash.api import LoadedRun
from fghash.codes import Codes, QuantizedCodes, concatenate
from fghash.errors import InputError
from fghash.evaluation import RetrievalProtocol, evaluate
from fghash.export.graph import EncoderGraph
from fghash.store import RunFolder

NEAR = 1e-4  # of a threshold, in the units of the values

Images = NDArray[np.uint8]
Run = Callable[[Images], dict[str, NDArray[Any]]]


@dataclass
class Parity:
    """How codes of a graph and of the run compare.

    Args:
        images: that were encoded by both.
        symbols: bits or codewords of all of them.
        differing: symbols that differ.
        near: of those, within 1e-4 of the threshold, or of equally good codewords.
        largest: absolute difference of outputs that are not whole numbers.
    """

    images: int = 0
    symbols: int = 0
    differing: int = 0
    near: int = 0
    largest: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether nothing differs but what rounding decides."""
        return self.differing == self.near

    def in_words(self) -> str:
        """One line."""
        apart = f"{self.differing:,} of {self.symbols:,} bits or codewords differ"
        close = f", {self.near:,} of them within {NEAR:g} of the threshold" if self.differing else ""
        return f"{self.images:,} images: {apart}{close}; largest difference {self.largest:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within": NEAR}


def compare_codes(graph: EncoderGraph, other: Run, batches: Iterable[Images]) -> Parity:
    """Encode the batches by torch and by ``other``, and count what differs."""
    parity = Parity()
    for images in batches:
        with torch.inference_mode():
            ours = graph(torch.from_numpy(images))
        mine = dict(zip(graph.outputs.names, (each.numpy() for each in ours), strict=True))
        _count(parity, graph, mine, other(images))
        parity.images += len(images)
    return parity


def _count(parity: Parity, graph: EncoderGraph, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    real = [name for name in graph.outputs.names if name != "indices"]
    gaps = [float(np.abs(mine[name] - theirs[name]).max(initial=0)) for name in real]
    parity.largest = max([parity.largest, *gaps])
    if "values" in mine:
        differing = (mine["values"] >= 0) != (theirs["values"] >= 0)
        parity.symbols += differing.size
        parity.differing += int(differing.sum())
        parity.near += int((differing & (np.abs(mine["values"]) < NEAR)).sum())
    elif "indices" in mine:
        differing = mine["indices"] != theirs["indices"]
        parity.symbols += differing.size
        parity.differing += int(differing.sum())
        parity.near += int((differing & _equally_good(graph, mine, theirs)[:, None]).sum())


def _equally_good(graph: EncoderGraph, mine: dict[str, Any], theirs: dict[str, Any]) -> NDArray[np.bool_]:
    """Whether an item's two choices of codewords lie as far from its own vector, to 1e-4 of the distance."""
    codes = graph.outputs.codes
    assert isinstance(codes, QuantizedCodes)
    far = [_distances(codes, each["indices"], mine["queries"]) for each in (mine, theirs)]
    return np.asarray(np.abs(far[0] - far[1]) <= NEAR * np.maximum(1.0, np.abs(far[0])))


def _distances(codes: QuantizedCodes, indices: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float64]:
    words = [book[index] for book, index in zip(codes.codebooks, indices.T, strict=True)]
    joined = np.concatenate(words, axis=1) if codes.structure == "product" else np.sum(words, axis=0)
    if codes.similarity == "dot":
        return np.asarray(-np.einsum("nd,nd->n", joined, vectors, dtype=np.float64))
    return np.asarray(np.square(joined - vectors, dtype=np.float64).sum(1))


@dataclass(frozen=True)
class Loss:
    """mAP of the stored codes, and of those of a graph for the same items."""

    stored: float
    graph: float

    def in_words(self) -> str:
        """One line."""
        return f"map {self.graph:.4f}, stored codes {self.stored:.4f}: {self.graph - self.stored:+.4f}"


def map_loss(
    run: LoadedRun,
    graph: EncoderGraph,
    other: Run,
    batches: Callable[[str], Iterator[Images]],
) -> Loss:
    """mAP of a graph's codes of the run's own queries and gallery, and of those that the run stores.

    Args:
        run: that stores its codes.
        graph: of it.
        other: encodes a batch.
        batches: the images of ``queries`` or ``gallery`` in order.

    Raises:
        InputError: the run stores no codes.
    """
    folder = RunFolder(run.folder)
    stored = folder.lengths()
    if not stored:
        raise InputError(f"run: '{run.folder}' stores no codes to compare with")
    (queries, query_labels), (gallery, labels) = (
        folder.read_codes(stored[-1], "network", part) for part in ("queries", "gallery")
    )
    theirs = _all(map(graph.outputs.as_queries, map(other, batches("queries"))))  # type: ignore[arg-type]
    coded = _all(map(graph.outputs.as_codes, map(other, batches("gallery"))))  # type: ignore[arg-type]
    protocol = RetrievalProtocol()
    scores = [
        evaluate(first, second, query_labels, labels, protocol).scores["map"]
        for first, second in ((queries, gallery), (theirs, coded))
    ]
    return Loss(float(scores[0] or 0.0), float(scores[1] or 0.0))


def _all(parts: Iterable[Codes]) -> Codes:
    return concatenate(list(parts))
