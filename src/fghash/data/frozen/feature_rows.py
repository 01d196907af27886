"""Items that are features instead of images: where their rows lie, and batches of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fghash.batch import Batch, Features
from fghash.data.draws import bits
from fghash.data.items import Items
from fghash.data.sampling import EvaluationSampler, TrainSampler, batches_of

_IN_MEMORY = 256 * 2**20  # bytes of one unit that are kept in memory as floats; larger ones stay mapped


class RowReader(Protocol):
    """Rows of one kind of feature in one view."""

    rows: Any

    def take(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """These rows, checked, a copy."""
        ...


class Vectors:
    """Rows that are in memory already and need no checking."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self.rows = rows

    def take(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """These rows, a copy."""
        taken: NDArray[Any] = self.rows[index]
        return taken


class FeatureRows:
    """Features by row, in one or several views; a source of Items that has no images.

    Args:
        views: for each view the rows of each kind, ``pooled`` or ``level1`` to ``level4``.
    """

    def __init__(self, views: Sequence[Mapping[str, RowReader]]) -> None:
        self.views = tuple(views)
        self._memory: dict[tuple[int, str], Tensor] = {}

    def __len__(self) -> int:
        return len(next(iter(self.views[0].values())).rows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of an item's feature of each kind."""
        return {kind: tuple(unit.rows.shape[1:]) for kind, unit in self.views[0].items()}

    def read(self, position: int, short_side: int | None = None) -> NDArray[np.uint8]:
        """There are no images here; never called."""
        raise AssertionError("features have no images")

    def features(self, rows: NDArray[np.int64], view: NDArray[np.int64] | int = 0) -> Features:
        """Features of these rows, of one view or of each item's own."""
        found = {kind: self._floats(kind, rows, view) for kind in self.views[0]}
        pooled = found.pop("pooled", None)
        return Features(pooled, {int(kind.removeprefix("level")): map_ for kind, map_ in found.items()})

    def view_of(self, rows: NDArray[np.int64], epoch: int, training_seed: int) -> NDArray[np.int64] | int:
        """Which view of each item the epoch takes: each once in as many epochs as there are views, in an
        order drawn for the item.
        """
        count = len(self.views)
        if count == 1:
            return 0
        turn, step = divmod(epoch, count)
        order = np.argsort(bits(training_seed, turn, rows, count=count), axis=1, kind="stable")
        chosen: NDArray[np.int64] = order[:, step]
        return chosen

    def _floats(self, kind: str, rows: NDArray[np.int64], view: NDArray[np.int64] | int) -> Tensor:
        if isinstance(view, int):
            return self._of_view(kind, rows, view)
        out = torch.empty((len(rows), *self.shapes[kind]))
        for each in np.unique(view):
            mine = np.flatnonzero(view == each)
            out[torch.from_numpy(mine)] = self._of_view(kind, rows[mine], int(each))
        return out

    def _of_view(self, kind: str, rows: NDArray[np.int64], view: int) -> Tensor:
        unit = self.views[view][kind]
        if unit.rows.nbytes > _IN_MEMORY:
            return torch.from_numpy(unit.take(rows)).float()
        if (view, kind) not in self._memory:
            every = np.arange(len(unit.rows), dtype=np.int64)
            self._memory[view, kind] = torch.from_numpy(unit.take(every)).float()
        return self._memory[view, kind].index_select(0, torch.from_numpy(rows))


class FeatureLoader:
    """Batches of features in the order of a sampler, without loading processes.

    ``sampler`` is where Lightning finds ``set_epoch``.

    Args:
        items: of a split; their source is :class:`FeatureRows`.
        sampler: of this process.
        batch_size: items of a batch on this process.
        training_seed: draws the views of training items; ``None`` takes the view of evaluation.
    """

    def __init__(
        self,
        items: Items,
        sampler: TrainSampler | EvaluationSampler,
        batch_size: int,
        training_seed: int | None,
    ) -> None:
        self.items, self.sampler, self.batch_size = items, sampler, batch_size
        self.training_seed = training_seed
        self.batch_sampler, self.dataset = None, items
        self.labels = torch.from_numpy(np.ascontiguousarray(items.labels))

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        source: Any = self.items.source
        for index, epoch in batches_of(self.sampler, self.batch_size):
            rows = self.items.positions[index]
            training = self.training_seed is not None
            view = source.view_of(rows, epoch, self.training_seed) if training else 0
            which = torch.from_numpy(index)
            yield Batch(None, self.labels[which], which, source.features(rows, view))
