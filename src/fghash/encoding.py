"""Run a method over the query and gallery splits; put the items in dataset order, whoever encoded them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch.distributed as dist

from fghash.codes import Codes, RealCodes, concatenate
from fghash.data.datamodule import RetrievalDataModule
from fghash.methods.base import Encoded, HashingMethod


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
    queries, gallery = (assemble(everyones(parts)) for parts in predictions)
    return queries, gallery


def everyones(parts: Sequence[Encoded]) -> list[Encoded]:
    """The parts of all processes, on every process; one process gets its own back."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return list(parts)
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, list(parts))
    return [part for rank in gathered for part in rank]


def assemble(parts: Sequence[Encoded]) -> EncodedSplit:
    """One split from its parts, ordered by dataset position.

    Raises:
        RuntimeError: positions other than 0 ... n-1, each once.
    """
    index = np.concatenate([part.index for part in parts])
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(len(index))):
        raise RuntimeError(
            f"encoding: {len(index)} items encoded, positions repeated or missing: {_first_gap(index[order])}"
        )
    embeddings = [part.embedding for part in parts if part.embedding is not None]
    return EncodedSplit(
        codes=concatenate([part.codes for part in parts]).take(order),
        labels=np.concatenate([part.labels for part in parts])[order],
        embedding=concatenate(embeddings).take(order) if embeddings else None,  # type: ignore[arg-type]
    )


def _first_gap(ordered: np.ndarray) -> str:
    wrong = np.flatnonzero(ordered != np.arange(len(ordered)))[0]
    return f"position {ordered[wrong]} stands where {wrong} should"
