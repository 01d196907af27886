"""Which items a process sees, in which order: pure functions of (seed, epoch), cut into equal shards.

Samplers yield ``(index, epoch)``, because augmentation is drawn from (seed, epoch, index) in the worker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fghash.data.draws import bits, permutation
from fghash.errors import InputError

Key = tuple[int, int]


def process() -> tuple[int, int]:
    """(rank, number of processes) of this training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class Order(ABC):
    """The order of one epoch's items, the same in every process."""

    @abstractmethod
    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Positions of the items of that epoch."""

    @abstractmethod
    def __len__(self) -> int: ...


class Shuffled(Order):
    """Every item once, in random order."""

    def __init__(self, n_items: int, seed: int) -> None:
        self.n_items, self.seed = n_items, seed

    def __len__(self) -> int:
        return self.n_items

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """A permutation of the items."""
        return permutation(self.seed, epoch, n=self.n_items)


class Deck:
    """Cards in random order, shuffled anew when they run out.

    A hand never holds a card twice unless it is larger than the deck.
    """

    def __init__(self, cards: NDArray[np.int64], *key: int, first: NDArray[np.int64] | None = None) -> None:
        self.cards, self.key, self.first = cards, key, first  # the first order, where it is known already
        self.n_shuffles = 0
        self.left: list[int] = []

    def draw(self, size: int) -> list[int]:
        """The next ``size`` cards."""
        hand, self.left = self.left[:size], self.left[size:]
        while len(hand) < size:
            fresh = self._shuffle()
            first = [card for card in fresh if card not in hand] if len(hand) < len(self.cards) else fresh
            wanted = size - len(hand)
            hand += first[:wanted]
            self.left = first[wanted:] + [card for card in fresh if card not in first]
        return hand

    def _shuffle(self) -> list[int]:
        known = self.first if self.n_shuffles == 0 else None
        order = permutation(*self.key, self.n_shuffles, n=len(self.cards)) if known is None else known
        self.n_shuffles += 1
        shuffled: list[int] = self.cards[order].tolist()
        return shuffled


class ClassBalanced(Order):
    """P x K: each batch has ``batch_size / classes_per_batch`` items of each of ``classes_per_batch``
    classes.

    Classes take turns, and so do the items of a class; a class with fewer items than its share of a batch
    repeats them. An epoch has as many batches as an unbalanced one, so a small class is seen more often
    than once.

    Raises:
        InputError: labels are multi-hot, a batch cannot be shared equally, or there are too few classes.
    """

    def __init__(self, labels: NDArray[Any], batch_size: int, classes_per_batch: int, seed: int) -> None:
        if labels.ndim != 1:
            raise InputError("--data.sampler: pk needs one class an item, these labels are multi-hot")
        classes = np.unique(labels)
        if not 1 <= classes_per_batch <= len(classes):
            raise InputError(
                f"--data.classes_per_batch: must be 1 to {len(classes)}, the classes, got {classes_per_batch}"
            )
        if batch_size % classes_per_batch:
            raise InputError(
                f"--batch_size: must be a multiple of --data.classes_per_batch {classes_per_batch}, "
                f"got {batch_size}"
            )
        self.members = [np.flatnonzero(labels == label) for label in classes]
        self.n_batches = len(labels) // batch_size
        self.batch_size, self.classes_per_batch, self.seed = batch_size, classes_per_batch, seed

    def __len__(self) -> int:
        return self.n_batches * self.batch_size

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Batch after batch, the items of a class side by side."""
        classes = Deck(np.arange(len(self.members)), self.seed, epoch, 0)
        decks = self._decks(epoch)
        share = self.batch_size // self.classes_per_batch
        items: list[int] = []
        for _ in range(self.n_batches):
            for c in classes.draw(self.classes_per_batch):
                items += decks[c].draw(share)
        return np.asarray(items, np.int64)

    def _decks(self, epoch: int) -> list[Deck]:
        """A deck for each class, their first orders drawn at once."""
        sizes = [len(members) for members in self.members]
        drawn = bits(self.seed, epoch, 1 + np.arange(len(sizes)), 0, count=max(sizes))
        orders = [np.argsort(row[:size], kind="stable") for row, size in zip(drawn, sizes, strict=True)]
        return [
            Deck(members, self.seed, epoch, 1 + c, first=order)
            for c, (members, order) in enumerate(zip(self.members, orders, strict=True))
        ]


class FromSampler(Order):
    """The order of a method's own sampler: global positions; its ``set_epoch``, if any, is called first."""

    def __init__(self, sampler: Iterable[int]) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """What the sampler yields."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
        return np.fromiter(self.sampler, np.int64)


class TrainSampler(Sampler[Key]):
    """This process's share of each global batch.

    Global batches are cut from the order one after another and the last incomplete one is dropped; rank r
    takes the r-th slice of each, so the batches of all processes in order of rank are the batch of a single
    process.

    Raises:
        InputError: the global batch does not divide by the number of processes, or no batch is complete.
    """

    def __init__(self, order: Order, batch_size: int) -> None:
        self.order, self.batch_size, self.current = order, batch_size, 0
        self._resumed = (0, 0)  # epoch, and how many of its global batches were seen before
        if len(order) < batch_size:
            raise InputError(
                f"--batch_size: {batch_size} is more than the {len(order)} training images, no batch fills"
            )
        self.local_batch_size = local_batch_size(batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.current = epoch

    def resume(self, epoch: int, batches: int) -> None:
        """Leave out the first global batches of that epoch: an earlier training has seen them."""
        self._resumed = (epoch, batches)

    def __len__(self) -> int:
        return len(self.order) // self.batch_size * self.local_batch_size

    def __iter__(self) -> Iterator[Key]:
        epoch = self.current
        return ((index, epoch) for index in self.indices().tolist())

    def indices(self) -> NDArray[np.int64]:
        """Positions of this process's items that are left of the current epoch, batch after batch."""
        items, (rank, _) = self.order.epoch(self.current), process()
        n_batches = len(items) // self.batch_size
        batches = items[: n_batches * self.batch_size].reshape(n_batches, -1, self.local_batch_size)
        resumed, seen = self._resumed
        return batches[seen if resumed == self.current else 0 :, rank].ravel()


def local_batch_size(batch_size: int) -> int:
    """Items of a global batch that each process takes.

    Raises:
        InputError: not a positive multiple of the number of processes.
    """
    _, world = process()
    if batch_size < 1 or batch_size % world:
        raise InputError(
            f"--batch_size: must be a positive multiple of the {world} processes, got {batch_size}"
        )
    return batch_size // world


class EvaluationSampler(Sampler[Key]):
    """Every item once over all processes: rank, rank + world, rank + 2 world ..."""

    current = 0  # augmentation plays no part, so neither do epochs

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def indices(self) -> NDArray[np.int64]:
        """Positions of this process's items."""
        return np.asarray(self._mine(), np.int64)

    def _mine(self) -> range:
        rank, world = process()
        return range(rank, self.n_items, world)

    def __len__(self) -> int:
        return len(self._mine())

    def __iter__(self) -> Iterator[Key]:
        return ((index, 0) for index in self._mine())


def batches_of(
    sampler: TrainSampler | EvaluationSampler, batch_size: int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """The same items in the same order as arrays: positions (b,) and the epoch of each batch."""
    epoch, indices = sampler.current, sampler.indices()
    for start in range(0, len(indices), batch_size):
        yield indices[start : start + batch_size], epoch
