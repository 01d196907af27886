"""Run a method over the query and gallery splits; put the items in dataset order, whoever encoded them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch.distributed as dist

from fghash.codes import Codes, RealCodes, concatenate
from fghash.data.datamodule import RetrievalDataModule
from fghash.methods.base import Encoded, HashingMethod

Part = TypeVar("Part")


@dataclass(frozen=True)
class EncodedSplit:
    """A split in dataset order: its codes, labels (n,) or (n, classes), and real embeddings where the method
    has them.
    """

    codes: Codes
    labels: np.ndarray
    embedding: RealCodes | None


def encode(
    trainer: pl.Trainer, method: HashingMethod, data: RetrievalDataModule
) -> tuple[EncodedSplit, EncodedSplit]:
    """Queries and gallery of the test protocol, through the network, on all of the trainer's processes.

    Raises:
        RuntimeError: an item is missing or was encoded twice.
    """
    predictions: Any = trainer.predict(method, datamodule=data)  # its hook finishes each batch on the device
    sizes = (len(data.query_items), len(data.gallery_items))
    queries, gallery = (
        assemble(gathered(parts), size) for parts, size in zip(predictions, sizes, strict=True)
    )
    return queries, gallery


def gathered(parts: Sequence[Part]) -> list[Part]:
    """The parts of all processes, on every process; one process gets its own back."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return list(parts)
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, list(parts))
    return [part for rank in gathered for part in rank]


def assemble(parts: Sequence[Encoded], size: int) -> EncodedSplit:
    """One split of ``size`` items from its parts, ordered by dataset position.

    Raises:
        RuntimeError: positions other than 0 ... size-1, each once.
    """
    if not parts:
        raise RuntimeError(f"encoding: nothing was encoded of {size} items")
    index = np.concatenate([part.index for part in parts])
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(size)):
        raise RuntimeError(
            f"encoding: {len(index)} of {size} items encoded, positions repeated or missing: "
            f"{_first_gap(index[order], size)}"
        )
    embeddings = [part.embedding for part in parts if part.embedding is not None]
    return EncodedSplit(
        codes=concatenate([part.codes for part in parts]).take(order),
        labels=np.concatenate([part.labels for part in parts])[order],
        embedding=concatenate(embeddings).take(order) if embeddings else None,  # type: ignore[arg-type]
    )


def _first_gap(ordered: np.ndarray, size: int) -> str:
    wrong = np.flatnonzero(ordered != np.arange(len(ordered)))
    if not len(wrong):
        return f"the last position is {len(ordered) - 1} instead of {size - 1}"
    return f"position {ordered[wrong[0]]} where {wrong[0]} is expected"
